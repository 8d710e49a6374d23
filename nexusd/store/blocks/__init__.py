"""Content by its address: blocks, the pins that keep them, and what is given back."""

from nexusd.store.blocks.blocks import Blocks as Blocks
from nexusd.store.blocks.collection import Collected as Collected
from nexusd.store.blocks.pins import Pin as Pin
from nexusd.store.blocks.usage import Usage as Usage

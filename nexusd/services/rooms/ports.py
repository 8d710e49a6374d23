"""What rooms ask of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import RoomId

Referred = Callable[[RoomId, PeerId, Sequence[str]], None]
"""A message of this room and sender was kept, and refers to these. Never waits."""

Checkpointed = Callable[[RoomId, Cid], None]
"""This is the newest checkpoint of a room's history, which is here with all below it. Said again and again."""

Penalise = Callable[[PeerId, str, int], None]
"""Charge a peer's account: why, and how many points."""

RoomFor = Callable[[int], None]
"""Raises StorageFullError if so many more bytes of blocks would leave the disk less than stays free."""

"""Nodes of ours, in process, that meet a peer of another implementation."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import trio

from nexusd.host.node import Node
from nexusd.host.ports import PeerIdentified
from nexusd_protocols.identity import PeerId
from tests.harness.contents import Contents
from tests.harness.foreign import ForeignPeer
from tests.harness.nodes import LOOPBACK, loopback_node, next_event, running

Transport = Literal["tcp", "websocket"]
Dialler = Literal["we", "they"]

BULK = 64_000_000
MEET_SECONDS = 20.0


def address_of(node: Node, transport: Transport) -> str:
    """Where a node of ours listens."""
    return next(address for address in node.addresses() if ("/ws" in address) == (transport == "websocket"))


@asynccontextmanager
async def alone(name: str, **options) -> AsyncIterator[Contents]:
    """A running node of ours that serves contents."""
    node = loopback_node(name, listen=LOOPBACK, **options)
    contents = Contents(node)
    async with running(node):
        yield contents
    with warnings.catch_warnings():
        # py-libp2p's WebSocket dialler leaves its socket to the garbage collector: not to that of another test
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@asynccontextmanager
async def meeting(
    bob: ForeignPeer, name: str, transport: Transport = "tcp", dialler: Dialler = "we", **options
) -> AsyncIterator[Contents]:
    """A node of ours with a connection to the peer; each has identified the other."""
    async with alone(name, **options) as alice:
        await meet(alice.node, bob, transport, dialler)
        yield alice


async def meet(node: Node, bob: ForeignPeer, transport: Transport = "tcp", dialler: Dialler = "we") -> PeerIdentified:
    """Connect, and wait until each has identified the other. Gives what the peer said."""
    events, since = node.peer_events(), bob.mark()
    with trio.fail_after(MEET_SECONDS):
        if dialler == "we":
            await node.connect(PeerId(bob.peer_id), [getattr(bob, transport)])
        else:
            await bob.ask("dial", address=address_of(node, transport))
        said = await next_event(events, PeerIdentified, PeerId(bob.peer_id))
        await bob.hear("identified", lambda event: event["peer"] == node.peer_id, since=since)
    return said

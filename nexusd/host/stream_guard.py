"""Fault C1: an exception in any stream handler stops the whole host, and 25 bytes from a stranger raise one.

`SwarmConn` runs handlers in a bare nursery, so `UnicodeDecodeError` out of multistream-select climbs to the swarm and
cancels every connection. Here each stream fails alone; and here, before any negotiation, is the one gate that every
inbound stream passes: is the peer allowed, and has it fewer streams than its share?
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import trio
from libp2p.network.swarm import Swarm

from nexusd.host.slots import StreamSlots
from nexusd_protocols.identity import PeerId

_log = logging.getLogger(__name__)

RESET_SECONDS: Final = 2.0
"""A reset is one small frame; a transport that does not take it in this time is stuck."""


def guard_streams(swarm: Swarm, admit: Callable[[PeerId], bool], slots: StreamSlots) -> None:
    """Put the gate and the net under the swarm's stream handler. Call it once, when the host is made."""
    inner = swarm.common_stream_handler

    async def guarded(stream: Any) -> None:
        peer = PeerId(str(stream.muxed_conn.peer_id))
        if not admit(peer) or not slots.enter(peer):
            await reset_stream(stream)
            return
        try:
            await inner(stream)
        except Exception as error:
            # Exception only: Cancelled must pass
            _log.debug("stream of %s failed: %r", peer, error)
            await reset_stream(stream)
        finally:
            slots.exit(peer)

    swarm.set_stream_handler(guarded)


async def reset_stream(stream: Any) -> None:
    """Tear a stream down, whatever state it is in; shielded, so that the peer hears of it when a task is cancelled."""
    with trio.move_on_after(RESET_SECONDS, shield=True):
        try:
            await stream.reset()
        except Exception as error:
            _log.debug("reset failed: %r", error)

"""Fault C12: leaving a stock host leaves its connections open: peers see them, and descriptors leak.

Closing is also slow, 0.2 s of sleeping a connection, one after another. Here all are closed at once, within a deadline.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import trio
from libp2p.network.swarm import Swarm

_log = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 1.5
"""For all connections together: a peer that does not read must not hold up our end."""
WHOLLY_SECONDS: Final = 10.0
"""Twice what a muxer may take for its goodbye and its transport's."""


async def close_connections(swarm: Swarm, seconds: float = CLOSE_SECONDS) -> None:
    """Close every connection of the swarm, while its tasks still run. Never takes longer than `seconds`."""
    with trio.move_on_after(seconds, shield=True):
        async with trio.open_nursery() as nursery:
            for connection in swarm.get_connections():
                nursery.start_soon(close_connection, connection)


async def close_wholly(connections: Sequence[Any]) -> None:
    """Close connections while the host goes on. Begun, it is not cancelled: a stock connection whose close is given up
    half-way stays in the swarm's books for ever, and its peer counts as connected."""
    with trio.move_on_after(WHOLLY_SECONDS, shield=True):
        async with trio.open_nursery() as nursery:
            for connection in connections:
                nursery.start_soon(close_connection, connection)


async def close_connection(connection: Any) -> None:
    """Close one connection; what goes wrong is of no interest any more."""
    try:
        await connection.close()
    except Exception as error:
        _log.debug("closing a connection: %r", error)

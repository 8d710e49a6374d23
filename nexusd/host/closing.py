"""Fault C12: leaving a stock host leaves its connections open: peers see them, and descriptors leak.

Closing is also slow, 0.2 s of sleeping a connection, one after another. Here all are closed at once, within a deadline.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import trio
from libp2p.network.swarm import Swarm

_log = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 1.5
"""For all connections together: a peer that does not read must not hold up our end."""


async def close_connections(swarm: Swarm, seconds: float = CLOSE_SECONDS) -> None:
    """Close every connection of the swarm, while its tasks still run. Never takes longer than `seconds`."""
    with trio.move_on_after(seconds, shield=True):
        async with trio.open_nursery() as nursery:
            for connection in swarm.get_connections():
                nursery.start_soon(close_connection, connection)


async def close_connection(connection: Any) -> None:
    """Close one connection; what goes wrong is of no interest any more."""
    try:
        await connection.close()
    except Exception as error:
        _log.debug("closing a connection: %r", error)

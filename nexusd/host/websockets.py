"""Dialling WebSocket addresses, without three habits of the stock transport.

It looks for a proxy in the environment (and prints what it finds), runs the reader of each connection in the swarm's
own nursery, where an exception would end the host, and does not know whom it dialled.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.transport.upgrader import TransportUpgrader
from libp2p.transport.websocket import proxy_env
from libp2p.transport.websocket.transport import WebsocketTransport
from multiaddr import Multiaddr

_log = logging.getLogger(__name__)


class GuardedNursery:
    """What a transport may do with a nursery: start tasks, which then fail alone."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: Any, name: object = None) -> None:
        """As trio's."""
        self._nursery.start_soon(self._run, function, *args, name=name)

    async def _run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        try:
            await function(*args)
        except Exception as error:
            _log.debug("background task failed: %r", error)


class WebSockets(WebsocketTransport):  # type: ignore[misc] # libp2p is not typed
    """WebSocket connections to peers, without TLS of their own unless the address says /wss."""

    def __init__(self, upgrader: TransportUpgrader) -> None:
        super().__init__(upgrader)
        # peers are dialled, not browsed: an HTTP proxy of the environment is not for them
        proxy_env.get_proxy_from_environment = lambda *_args: None

    def set_background_nursery(self, nursery: trio.Nursery) -> None:
        """Called by the swarm when it runs."""
        super().set_background_nursery(GuardedNursery(nursery))

    async def dial(self, maddr: Multiaddr) -> Any:
        """Connect. Raises OpenConnectionError."""
        connection = await super().dial(maddr)
        parts = str(maddr).split("/")
        if parts[1] in ("ip4", "ip6"):
            remote = (parts[2], int(parts[4]))
            connection.stream.get_remote_address = lambda: remote
        return connection

"""Dialling WebSocket addresses: /ws, and /wss or /tls/ws with the server's certificate checked.

The stock transport looks for a proxy in the environment (and prints what it finds), runs the reader of each connection
in the swarm's own nursery, leaves its sockets open when the node stops, and does not know whom it dialled.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import trio
from libp2p.abc import ConnectionType, IListener, ITransport
from libp2p.custom_types import THandler
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from nexusd.host.websocket_connection import HandshakeError, connect

_FAMILIES: Final = {
    "ip4": socket.AF_INET,
    "ip6": socket.AF_INET6,
    "dns": socket.AF_UNSPEC,
    "dns4": socket.AF_INET,
    "dns6": socket.AF_INET6,
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a WebSocket address leads. `name` is what a certificate must be for, None without TLS."""

    family: socket.AddressFamily
    host: str
    port: int
    name: str | None

    @classmethod
    def of(cls, address: str) -> Target | None:
        """None if it is not a WebSocket address: /ip4|ip6|dns|dns4|dns6/…/tcp/…, then /ws, /wss, /tls/ws or
        /tls/sni/…/ws, then perhaps /p2p/…."""
        match address.partition("/p2p/")[0].strip("/").split("/"):
            case [kind, host, "tcp", port, *rest] if kind in _FAMILIES and port.isascii() and port.isdigit():
                pass
            case _:
                return None
        match rest:
            case ["ws"]:
                name = None
            case ["wss"] | ["tls", "ws"]:
                name = host
            case ["tls", "sni", name, "ws"]:
                pass
            case _:
                return None
        return cls(_FAMILIES[kind], host, int(port), name)


class WebSockets(ITransport):  # type: ignore[misc] # libp2p is not typed
    """WebSocket connections to peers. Listening is `listener.Listeners`' business."""

    def __init__(self, trust: Callable[[], ssl.SSLContext] = ssl.create_default_context) -> None:
        self._trust = trust

    async def dial(self, maddr: Multiaddr) -> RawConnection:
        """Connect. Raises OpenConnectionError."""
        address = str(maddr)
        target = Target.of(address)
        if target is None:
            raise OpenConnectionError(f"not a WebSocket address: {address}")
        stream: trio.abc.Stream | None = None
        try:
            tcp = await trio.open_tcp_stream(await _ip(target), target.port)
            stream = tcp
            remote = tcp.socket.getpeername()[:2]
            if target.name is not None:
                # made for each dial, since what the host trusts may change; it takes a while, hence in a thread
                trust = await trio.to_thread.run_sync(self._trust)
                stream = trio.SSLStream(tcp, trust, server_hostname=target.name, https_compatible=True)
            host = target.name or target.host
            websocket = await connect(stream, host, target.port, secure=target.name is not None, remote=remote)
        except BaseException as error:
            if stream is not None:
                await trio.aclose_forcefully(stream)
            if isinstance(error, OSError | trio.BrokenResourceError | HandshakeError):
                raise OpenConnectionError(f"cannot connect to {address}: {error}") from error
            raise
        return RawConnection(websocket, True, ConnectionType.DIRECT, [Multiaddr(address.partition("/p2p/")[0])])

    def create_listener(self, handler_function: THandler) -> IListener:
        """Not here."""
        raise NotImplementedError("listener.Listeners listens")

    def can_dial(self, maddr: Multiaddr) -> bool:
        """Whether `dial` knows such addresses."""
        return Target.of(str(maddr)) is not None

    def can_listen(self, maddr: Multiaddr) -> bool:
        """Never."""
        return False

    def protocols(self) -> list[str]:
        """What libp2p calls it."""
        return ["ws", "wss"]


async def _ip(target: Target) -> Any:
    """An address of the wanted family: trio tries all of a name's, of any family."""
    if target.family is socket.AF_UNSPEC:
        return target.host
    found = await trio.socket.getaddrinfo(target.host, target.port, target.family, socket.SOCK_STREAM)
    return found[0][4][0]

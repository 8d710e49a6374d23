"""Fault C11: a stock listener lies. A port in use raises nothing, and SO_REUSEPORT lets two daemons share one, so that
the kernel sends half of the dials to the wrong identity.

Here a port is bound exclusively or the start fails, with words for a person. TCP and WebSocket share a port if asked
to: the first byte tells them apart (multistream-select opens with its length, 0x13; HTTP with a letter).
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio
from libp2p.abc import IListener
from libp2p.io.peekable_stream import PeekableStream
from libp2p.io.trio import TrioTCPStream
from libp2p.network.swarm import Swarm
from libp2p.transport.websocket.connection import P2PWebSocketConnection
from multiaddr import Multiaddr
from trio_websocket import wrap_server_stream

from nexusd.host.ports import HostError

_log = logging.getLogger(__name__)

FIRST_BYTE_SECONDS: Final = 5.0
"""A dialler speaks at once; whoever is silent is not one. Also the time for the WebSocket handshake."""
CLOSE_SECONDS: Final = 1.0
WS_MESSAGE_BYTES: Final = 1 << 20
"""A WebSocket message holds Noise frames, 64 KiB each; libp2p peers batch a few."""
_MULTISTREAM: Final = 0x13

Accept = Callable[[Any, Multiaddr], Awaitable[None]]
"""A raw connection and the listen address it came to; returns when the connection is over."""


class ListenError(HostError):
    """An address cannot be listened on. Says why."""


@dataclass(slots=True)
class _Port:
    """One socket, and the multiaddr of each transport that it serves."""

    ip: str
    port: int
    tcp: Multiaddr | None = None
    ws: Multiaddr | None = None
    listeners: list[trio.SocketListener] = field(default_factory=list)


class Listening(IListener):  # type: ignore[misc] # libp2p is not typed
    """A bound address as the swarm knows it; the sockets belong to `Listeners`."""

    def __init__(self, address: Multiaddr, close: Callable[[], Awaitable[None]]) -> None:
        self._address = address
        self._close = close

    async def listen(self, maddr: Multiaddr) -> None:
        """It listens already."""

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        """The address, with its real port."""
        return (self._address,)

    async def close(self) -> None:
        """Close the socket, and with it every other transport on the same port."""
        await self._close()


class Listeners:
    """The sockets of a host."""

    def __init__(self, addresses: Sequence[str], accept: Accept) -> None:
        self._ports = _group(addresses)
        self._accept = accept

    async def bind(self) -> None:
        """Bind every address, or raise ListenError and leave none bound."""
        try:
            for port in self._ports:
                await self._bind(port)
        except BaseException:
            await self.close()
            raise

    def serve(self, swarm: Swarm, nursery: trio.Nursery) -> None:
        """Accept connections in `nursery`, and let the swarm know its addresses."""
        for port in self._ports:
            for address in (port.tcp, port.ws):
                if address is not None:
                    swarm.listeners[str(address)] = Listening(address, partial(self._close, port))
            nursery.start_soon(self._serve, port)

    async def close(self) -> None:
        """Accept no more. Connections live on."""
        for port in self._ports:
            await self._close(port)

    async def _bind(self, port: _Port) -> None:
        try:
            # SO_REUSEADDR, so that a restart finds its port in TIME_WAIT free, and never SO_REUSEPORT
            port.listeners = await trio.open_tcp_listeners(port.port, host=port.ip)
        except OSError as error:
            raise ListenError(_explain(error, port.ip, port.port)) from error
        number = port.listeners[0].socket.getsockname()[1]
        port.tcp = port.tcp and _with_port(port.tcp, number)
        port.ws = port.ws and _with_port(port.ws, number)

    async def _close(self, port: _Port) -> None:
        for listener in port.listeners:
            await listener.aclose()

    async def _serve(self, port: _Port) -> None:
        async def handle(stream: trio.SocketStream) -> None:
            try:
                await self._handle(stream, port)
            except Exception as error:
                _log.debug("connection to port %d failed: %r", port.port, error)
            finally:
                await trio.aclose_forcefully(stream)

        try:
            await trio.serve_listeners(handle, port.listeners)
        except* trio.ClosedResourceError:
            pass  # the end: `_close` was called

    async def _handle(self, socket: trio.SocketStream, port: _Port) -> None:
        remote = socket.socket.getpeername()[:2]
        with trio.fail_after(FIRST_BYTE_SECONDS):
            first = await socket.receive_some(16)
        if not first:
            return
        stream = PeekableStream(socket, first)
        if first[0] == _MULTISTREAM:
            if port.tcp is not None:
                raw = TrioTCPStream(stream)
                raw._cached_remote_address = remote  # stock code knows no IPv6 peer name
                await self._accept(raw, port.tcp)
        elif port.ws is not None:
            await self._handle_websocket(stream, remote, port.ws)

    async def _handle_websocket(self, stream: Any, remote: tuple[str, int], address: Multiaddr) -> None:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(FIRST_BYTE_SECONDS):
                request = await wrap_server_stream(nursery, stream, max_message_size=WS_MESSAGE_BYTES)
                websocket = await request.accept()
            raw = P2PWebSocketConnection(websocket, max_message_size=WS_MESSAGE_BYTES)
            raw.get_remote_address = lambda: remote  # a placeholder in stock code
            await self._accept(raw, address)
            with trio.move_on_after(CLOSE_SECONDS):
                await websocket.aclose()
            nursery.cancel_scope.cancel()


def _group(addresses: Sequence[str]) -> list[_Port]:
    """One entry a socket: addresses of the same IP and port share it, port 0 included."""
    ports: dict[tuple[str, int], _Port] = {}
    for text in addresses:
        try:
            address = Multiaddr(text)
            parts = text.strip("/").split("/")
            family, ip, transport, number = parts[:4]
            kind = parts[4:]
            if family not in ("ip4", "ip6") or transport != "tcp" or kind not in ([], ["ws"]):
                raise ValueError("only /ip4|ip6/…/tcp/<port> and …/tcp/<port>/ws can be listened on")
            port = ports.setdefault((ip, int(number)), _Port(ip, int(number)))
        except Exception as error:
            # multiaddr raises errors of its own and of protobuf
            raise ListenError(f"Cannot listen on {text}: {error}") from error
        if kind:
            port.ws = address
        else:
            port.tcp = address
    return list(ports.values())


def _with_port(address: Multiaddr, port: int) -> Multiaddr:
    parts = str(address).split("/")
    parts[4] = str(port)
    return Multiaddr("/".join(parts))


def _explain(error: OSError, ip: str, port: int) -> str:
    codes = {error.errno} | {e.errno for e in getattr(error.__cause__, "exceptions", ()) if isinstance(e, OSError)}
    if errno.EADDRINUSE in codes:
        return f"Port {port} on {ip} is in use by another program: choose another port, or stop that program"
    if errno.EACCES in codes:
        return f"Port {port} on {ip} needs privileges that this program does not have: choose one above 1023"
    if errno.EADDRNOTAVAIL in codes:
        return f"This host has no address {ip}"
    return f"Cannot listen on {ip} port {port}: {error}"

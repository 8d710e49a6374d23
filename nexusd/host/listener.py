"""Fault C11: a stock listener lies. A port in use raises nothing, and SO_REUSEPORT lets two daemons share one, so that
the kernel sends half of the dials to the wrong identity.

Here a port is bound exclusively or the start fails, with words for a person. TCP and WebSocket share a port if asked
to: the first byte tells them apart (multistream-select opens with its length, 0x13; HTTP with a letter).

Whoever comes is shown to the gate before a byte is read, and turned away in the same breath if there is no place: no
task, no buffer, no answer but a reset.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio
from libp2p.abc import IListener
from libp2p.io.peekable_stream import PeekableStream
from libp2p.network.swarm import Swarm
from multiaddr import Multiaddr

from nexusd.host.limits.descriptors import Reserve
from nexusd.host.limits.gate import Gate, Pass
from nexusd.host.ports import HostError
from nexusd.host.tcp import TcpConnection
from nexusd.host.websocket_connection import accept

_log = logging.getLogger(__name__)

ACCEPT_BATCH: Final = 16
"""Taken from the kernel's queue at once. Fewer than there are places in transit, so that each has had its first read
before the next batch could make it give way."""
NO_MEMORY_SECONDS: Final = 0.1
"""Until the next try where the kernel has no memory for another socket."""
_MULTISTREAM: Final = 0x13
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER, on and for no time: closing sends a reset, and the kernel keeps nothing of the connection."""

Serve = Callable[[Any, Pass], Awaitable[None]]
"""A raw connection and its place; returns when the connection is over."""


class ListenError(HostError):
    """An address cannot be listened on. Says why."""


@dataclass(slots=True)
class _Port:
    """One socket, and the multiaddr of each transport that it serves."""

    ip: str
    port: int
    tcp: Multiaddr | None = None
    ws: Multiaddr | None = None
    sockets: list[socket.socket] = field(default_factory=list)


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
    """The sockets of a host. `gate` is asked about each connection, `serve` gets those that are let in."""

    def __init__(self, addresses: Sequence[str], gate: Gate, serve: Serve) -> None:
        self._ports = _group(addresses)
        self._gate = gate
        self._serve_raw = serve
        self._reserve = Reserve()

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
            for listener in port.sockets:
                nursery.start_soon(self._serve, port, listener)

    async def close(self) -> None:
        """Accept no more. Connections live on."""
        for port in self._ports:
            await self._close(port)
        self._reserve.close()

    async def _bind(self, port: _Port) -> None:
        try:
            # SO_REUSEADDR, so that a restart finds its port in TIME_WAIT free, and never SO_REUSEPORT
            listeners = await trio.open_tcp_listeners(port.port, host=port.ip)
        except OSError as error:
            raise ListenError(_explain(error, port.ip, port.port)) from error
        for listener in listeners:
            plain = socket.socket(fileno=listener.socket.detach())
            plain.setblocking(False)
            port.sockets.append(plain)
        number = port.sockets[0].getsockname()[1]
        port.tcp = port.tcp and _with_port(port.tcp, number)
        port.ws = port.ws and _with_port(port.ws, number)

    async def _close(self, port: _Port) -> None:
        while port.sockets:
            listener = port.sockets.pop()
            trio.lowlevel.notify_closing(listener)
            listener.close()
        await trio.lowlevel.checkpoint()

    # --- connections ------------------------------------------------------------------------------------------------
    async def _serve(self, port: _Port, listener: socket.socket) -> None:
        async with trio.open_nursery() as nursery:
            try:
                while True:
                    await trio.lowlevel.wait_readable(listener)
                    await self._accept(port, listener, nursery)
            except trio.ClosedResourceError:
                pass  # the end: `_close` was called; connections live on

    async def _accept(self, port: _Port, listener: socket.socket, nursery: trio.Nursery) -> None:
        """Whoever waits, up to a batch."""
        for _ in range(ACCEPT_BATCH):
            try:
                caller, remote = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if listener.fileno() < 0:
                    raise trio.ClosedResourceError from error
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    if (address := self._reserve.shed(listener)) is None:
                        await trio.sleep(NO_MEMORY_SECONDS)
                        return
                    self._gate.refuse("out_of_descriptors", address)
                elif error.errno in (errno.ENOBUFS, errno.ENOMEM):
                    await trio.sleep(NO_MEMORY_SECONDS)
                    return
                continue  # else it is an error of that one connection (accept(2)), which is gone
            pass_ = self._gate.accept(remote[0], partial(_has_bytes, caller))
            if pass_ is None:
                _reset(caller)
            else:
                nursery.start_soon(self._handle, caller, remote[:2], port, pass_)

    async def _handle(self, caller: socket.socket, remote: tuple[str, int], port: _Port, pass_: Pass) -> None:
        caller.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(caller))
        try:
            with pass_.scope:
                await self._greet(caller, stream, remote, port, pass_)
        except Exception as error:
            _log.debug("connection to port %d failed: %r", port.port, error)
        finally:
            await trio.aclose_forcefully(stream)
            pass_.close()

    async def _greet(
        self, caller: socket.socket, stream: trio.SocketStream, remote: tuple[str, int], port: _Port, pass_: Pass
    ) -> None:
        first = await stream.receive_some(16)
        if not first:
            return
        pass_.spoke()
        if first[0] == _MULTISTREAM:
            if port.tcp is not None:
                raw = TcpConnection(caller, remote, ahead=bytes(first), heard=partial(_note, pass_))
                await self._serve_raw(raw, pass_)
        elif port.ws is not None:
            await self._handle_websocket(_Greeted(stream, first, pass_), remote, pass_)

    async def _handle_websocket(self, stream: Any, remote: tuple[str, int], pass_: Pass) -> None:
        websocket = await accept(stream, remote)
        try:
            await self._serve_raw(websocket, pass_)
        finally:
            await websocket.close()


class _Greeted(PeekableStream):  # type: ignore[misc] # libp2p is not typed
    """A connection whose first bytes were looked at. Until it is open, its place hears of all that comes."""

    def __init__(self, stream: trio.SocketStream, first: bytes, pass_: Pass) -> None:
        super().__init__(stream, first)
        self._pass = pass_

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data: bytes = await super().receive_some(max_bytes)
        _note(self._pass)
        return data


def _note(pass_: Pass) -> None:
    """Something came."""
    if not pass_.open:
        pass_.spoke()


def _has_bytes(caller: socket.socket) -> bool:
    try:
        return bool(caller.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False


def _reset(caller: socket.socket) -> None:
    with suppress(OSError):  # it may have gone by itself
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    caller.close()


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

"""TCP as this host speaks it: a socket that is read when the kernel says so, and written to at once.

A stock connection takes a lock, and then Trio's checkpoint, for every call: two turns of the scheduler to read, three
to write, each with a poll of its own. Here one task reads, writers take turns above, and a write that the kernel takes
needs no turn at all.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import NoReturn

import trio
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.tcp.tcp import TCP
from multiaddr import Multiaddr


class TcpConnection(ReadWriteCloser):  # type: ignore[misc] # libp2p is not typed
    """`sock` is connected and does not block; it is closed here. `ahead` is what was read of it before, `heard` is
    called for all that comes after that. One task reads at a time, and one writes."""

    def __init__(
        self,
        sock: socket.socket,
        remote: tuple[str, int],
        *,
        ahead: bytes = b"",
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self._sock = sock
        self._remote = remote
        self._ahead = ahead
        self._heard = heard
        self._closed = False

    async def read(self, n: int | None = None) -> bytes:
        """1 to `n` bytes, or none at the end, to which closing it here is one. Cancelling it loses nothing. Raises
        ConnectionClosedError."""
        limit = 65_536 if n is None or n < 0 else n
        if self._ahead:
            await trio.lowlevel.checkpoint()
            data, self._ahead = self._ahead[:limit], self._ahead[limit:]
            return data
        while not self._closed:
            try:
                # not tried before: this is the turn that other tasks are owed after each read
                await trio.lowlevel.wait_readable(self._sock)
                data = self._sock.recv(limit)
            except BlockingIOError:
                continue
            except trio.ClosedResourceError:
                break
            except OSError as error:
                self._lost(error)
            if data:
                self._heard()
            return data
        return b""

    async def write(self, data: bytes) -> None:
        """All of it; what the kernel takes at once goes without a turn of the scheduler. Cancelled, it has sent the
        beginning or nothing. Raises ConnectionClosedError."""
        rest: bytes | memoryview = data
        while True:
            if self._closed:
                raise ConnectionClosedError("the connection is closed", transport="tcp")
            try:
                sent = self._sock.send(rest)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._lost(error)
            if sent == len(rest):
                return
            rest = memoryview(rest)[sent:]
            try:
                await trio.lowlevel.wait_writable(self._sock)
            except trio.ClosedResourceError:
                continue

    def _lost(self, error: OSError) -> NoReturn:
        raise ConnectionClosedError(f"the connection is lost: {error}", transport="tcp") from error

    async def close(self) -> None:
        """Close the socket. Whoever reads finds the end, whoever writes an error."""
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
        await trio.lowlevel.checkpoint()

    def get_remote_address(self) -> tuple[str, int]:
        """IP and port of the other end."""
        return self._remote


class Tcp(TCP):  # type: ignore[misc] # libp2p is not typed
    """Dials as stock code does, names included. Listening is `listener.Listeners`' business."""

    async def dial(self, maddr: Multiaddr) -> RawConnection:
        """Connect. Raises OpenConnectionError."""
        stream: trio.SocketStream = (await super().dial(maddr)).stream.stream
        sock = socket.socket(fileno=stream.socket.detach())
        sock.setblocking(False)
        try:
            remote = sock.getpeername()[:2]
        except OSError:
            remote = ("", 0)  # it is gone again, which whoever reads will find
        return RawConnection(TcpConnection(sock, remote), True)

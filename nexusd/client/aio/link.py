"""Connections of the asynchronous client: one for each use, and a few idle ones kept."""

from __future__ import annotations

import os
import socket
from collections import deque
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel

from nexusd.client.errors import NexusError
from nexusd.client.exchange import READ_BYTES, Exchange, Params, result_of
from nexusd.client.finding import unreachable
from nexusd.client.pool import IDLE_LINKS, Pool, is_silent
from nexusd_protocols.rpc.connection import Event, Response

_CLOSED: Final = (anyio.ClosedResourceError, OSError, ValueError)
"""What waiting on a socket raises when it was closed by another task, by back end."""
_FINISH_SECONDS: Final = 5.0


class Link:
    """A connection to the daemon. One task reads; any may write."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._writing = anyio.Lock()
        self._events: deque[Event] = deque()
        self.exchange = Exchange()

    @classmethod
    def open(cls, path: Path) -> Link:
        """Connect: on a Unix socket that takes no time. Raises NexusError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(os.fspath(path))
        except OSError as error:
            sock.close()
            raise unreachable(path, error) from error
        return cls(sock)

    async def write(self, line: bytes) -> None:
        """Send a line, whole or not at all: a line that was begun is finished even when cancelled, or the connection is
        closed. One that broke shows when it is read, together with what the daemon said before."""
        if not line:
            return
        async with self._writing:
            rest = self._send(memoryview(line))
            try:
                while rest:
                    await anyio.wait_writable(self._sock)
                    rest = self._send(rest)
            except _CLOSED:
                return
            except BaseException:
                if 0 < len(rest) < len(line):
                    await self._finish(rest)
                raise

    def _send(self, rest: memoryview) -> memoryview:
        """Send what the kernel takes now; what is left."""
        try:
            return rest[self._sock.send(rest) :]
        except BlockingIOError:
            return rest
        except OSError:
            return rest[:0]

    async def _finish(self, rest: memoryview) -> None:
        with anyio.move_on_after(_FINISH_SECONDS, shield=True):
            while rest:
                await anyio.wait_writable(self._sock)
                rest = self._send(rest)
        if rest:
            self.close()

    async def request(self, method: str, params: Params) -> int:
        """Send a request; the id of its answer."""
        request_id, line = self.exchange.request(method, params)
        await self.write(line)
        return request_id

    async def read(self) -> Event:
        """The next event. Raises NexusError `connection_lost`."""
        while not self._events:
            data = await self._receive()
            if not data:
                raise NexusError.of("connection_lost", "The daemon closed the connection")
            self._events.extend(self.exchange.receive(data))
        return self._events.popleft()

    async def _receive(self) -> bytes:
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            pass
        except OSError:
            return b""
        else:
            await anyio.lowlevel.checkpoint_if_cancelled()
            return data
        while True:
            try:
                await anyio.wait_readable(self._sock)
                return self._sock.recv(READ_BYTES)
            except BlockingIOError:
                continue
            except _CLOSED:
                return b""

    async def call(self, method: str, params: Params, *, timeout: float | None = None) -> Any:
        """Ask, and wait for the answer. What else comes meanwhile is dropped. Raises NexusError."""
        try:
            with anyio.fail_after(timeout):
                request_id = await self.request(method, params)
                while True:
                    event = await self.read()
                    if isinstance(event, Response) and event.id == request_id:
                        return result_of(method, params, event)
        except TimeoutError as error:
            raise NexusError.of("timeout", "The daemon does not answer") from error

    def usable(self) -> bool:
        """Whether the daemon still holds the other end, and has said nothing that nobody read."""
        return not self._events and is_silent(self._sock)

    def close(self) -> None:
        """Hang up. A task that reads finds the connection lost."""
        if self._sock.fileno() >= 0:
            anyio.notify_closing(self._sock)
            self._sock.close()


class Links(Pool[Link]):
    """See `Pool`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: deque[Link] = deque()
        self._open: set[Link] = set()
        self.closed = False

    def take(self) -> Link:
        """A connection for one use: `give_back` or `drop` it. Raises NexusError."""
        if self.closed:
            raise NexusError.of("connection_lost", "This client was closed")
        while self._idle:
            link = self._idle.pop()
            if link.usable():
                return link
            self.drop(link)
        link = Link.open(self._path)
        self._open.add(link)
        return link

    def give_back(self, link: Link) -> None:
        """Keep a connection on which nothing is under way."""
        if not self.closed and len(self._idle) < IDLE_LINKS:
            self._idle.append(link)
        else:
            self.drop(link)

    def drop(self, link: Link) -> None:
        """Close a connection."""
        self._open.discard(link)
        link.close()

    def close(self) -> None:
        """Close every connection, also those in use."""
        self.closed = True
        self._idle.clear()
        while self._open:
            self._open.pop().close()

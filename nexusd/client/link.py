"""Connections of the synchronous client: one for each use, and a few idle ones kept."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections import deque
from pathlib import Path
from typing import Any, Final

from nexusd.client.errors import NexusError
from nexusd.client.exchange import READ_BYTES, Exchange, Params, result_of
from nexusd.client.finding import unreachable
from nexusd.client.pool import IDLE_LINKS, Pool, is_silent
from nexusd_protocols.rpc.connection import Event, Response

_NOT_HANDED_OVER: Final = frozenset({errno.EBADF, errno.ETOOMANYREFS})
"""No open file; more under way between processes than the kernel allows."""


class Link:
    """A connection to the daemon. One thread reads; any may write."""

    def __init__(self, path: Path, timeout: float | None = None) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        self.exchange = Exchange()
        try:
            self._sock.settimeout(timeout)
            self._sock.connect(os.fspath(path))
        except OSError as error:
            self._sock.close()
            raise unreachable(path, error) from error

    def write(self, line: bytes, file: int | None = None) -> None:
        """Send a line, and with it an open file. A connection that broke shows when it is read, together with what the
        daemon said before. Raises NexusError `bad_file` where a file cannot be handed over: then nothing was sent."""
        if line:
            try:
                with self._lock:
                    sent = 0 if file is None else self._hand_over(line, file)
                    self._sock.sendall(line[sent:])
            except TimeoutError as error:
                raise NexusError.of("timeout", "The daemon takes nothing") from error
            except OSError:
                return

    def _hand_over(self, line: bytes, file: int) -> int:
        """Begin a line with its file; how much of it went."""
        try:
            return socket.send_fds(self._sock, [line], [file])
        except OSError as error:
            if error.errno in _NOT_HANDED_OVER and self._sock.fileno() >= 0:
                raise NexusError.of("bad_file", f"The file cannot be handed over: {error.strerror}") from error
            raise

    def request(self, method: str, params: Params, file: int | None = None) -> int:
        """Send a request; the id of its answer."""
        with self._lock:
            request_id, line = self.exchange.request(method, params)
        self.write(line, file)
        return request_id

    def read(self) -> Event:
        """The next event. Raises NexusError `connection_lost`, `timeout`."""
        while not self._events:
            try:
                data = self._sock.recv(READ_BYTES)
            except TimeoutError as error:
                raise NexusError.of("timeout", "The daemon does not answer") from error
            except OSError as error:
                raise NexusError.of("connection_lost", "The connection to the daemon broke") from error
            if not data:
                raise NexusError.of("connection_lost", "The daemon closed the connection")
            self._events.extend(self.exchange.receive(data))
        return self._events.popleft()

    def call(self, method: str, params: Params, file: int | None = None) -> Any:
        """Ask, and wait for the answer. What else comes meanwhile is dropped. Raises NexusError."""
        request_id = self.request(method, params, file)
        while True:
            event = self.read()
            if isinstance(event, Response) and event.id == request_id:
                return result_of(method, params, event)

    def set_timeout(self, timeout: float | None) -> None:
        """Seconds that a single read or write may take."""
        self._sock.settimeout(timeout)

    def usable(self) -> bool:
        """Whether the daemon still holds the other end, and has said nothing that nobody read."""
        if self._events:
            return False
        try:
            self._sock.setblocking(False)
        except OSError:
            return False
        return is_silent(self._sock)

    def close(self) -> None:
        """Hang up. A thread that reads finds the connection lost."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            self._sock.close()


class Links(Pool[Link]):
    """See `Pool`."""

    def __init__(self, path: Path, timeout: float | None) -> None:
        self._path = path
        self._timeout = timeout
        self._idle: deque[Link] = deque()
        self._open: set[Link] = set()
        self._lock = threading.Lock()
        self.closed = False

    def take(self) -> Link:
        """A connection for one use: `give_back` or `drop` it. Raises NexusError."""
        while True:
            with self._lock:
                if self.closed:
                    raise NexusError.of("connection_lost", "This client was closed")
                link = self._idle.pop() if self._idle else None
            if link is None:
                break
            if link.usable():
                link.set_timeout(self._timeout)
                return link
            self.drop(link)
        link = Link(self._path, self._timeout)
        with self._lock:
            self._open.add(link)
        return link

    def give_back(self, link: Link) -> None:
        """Keep a connection on which nothing is under way."""
        with self._lock:
            if not self.closed and len(self._idle) < IDLE_LINKS:
                self._idle.append(link)
                return
        self.drop(link)

    def drop(self, link: Link) -> None:
        """Close a connection."""
        with self._lock:
            self._open.discard(link)
        link.close()

    def close(self) -> None:
        """Close every connection, also those in use."""
        with self._lock:
            self.closed = True
            links = list(self._open)
            self._open.clear()
            self._idle.clear()
        for link in links:
            link.close()

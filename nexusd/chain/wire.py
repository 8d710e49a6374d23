"""HTTP to one node: an answer is bounded, an exchange has a deadline, and anybody may cut it off. Blocking.

`http.client` rather than what web3 uses by default: that reads answers of any size, begins its time limit anew with
each byte, and cannot be stopped from another thread.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import threading
import time
import urllib.parse
from typing import Final

from nexusd.chain.views import ChainError, LimitedError, WholeRefusedError

ANSWER_BYTES: Final = 2 << 20
"""Of one answer. A hundred receipts of our own transactions have a quarter of a megabyte."""

CONNECT_S: Final = 5.0
"""For one address of the node's."""

LIMITED: Final = frozenset({http.client.TOO_MANY_REQUESTS, http.client.SERVICE_UNAVAILABLE})
TOO_MUCH: Final = frozenset({http.client.BAD_REQUEST, http.client.REQUEST_ENTITY_TOO_LARGE})
"""What nodes say to batches that are too large for them."""

_HEADERS: Final = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "nexusd"}
_CHUNK: Final = 65536


class Exchange:
    """A request and its answer, until its deadline or until it is aborted."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self.aborted = False

    def left(self) -> float:
        """Seconds, more than 0. Raises TimeoutError when it is over."""
        left = self._deadline - time.monotonic()
        if left <= 0 or self.aborted:
            raise TimeoutError
        return left


class Wire:
    """A connection that is kept between exchanges, of which there is one at a time. Its text form never shows the URL,
    which may hold a key."""

    def __init__(self, url: str, *, max_answer: int = ANSWER_BYTES) -> None:
        """Raises ValueError for what is no http or https URL."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or any(ord(each) < 33 for each in url):
            raise ValueError("a node's URL begins with http:// or https://")
        self._host: Final = parts.hostname
        self._port: Final = parts.port
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self._path: Final = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = dict(_HEADERS)
        if parts.username is not None:
            user, password = (urllib.parse.unquote(part or "") for part in (parts.username, parts.password))
            self._headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._max_answer = max_answer
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None
        """The connection's. `http.client` forgets it early where an answer is the last one."""
        self._lock = threading.Lock()
        self._under_way: Exchange | None = None

    def post(self, body: bytes, exchange: Exchange) -> bytes:
        """The answer to `body`. Raises ChainError."""
        with self._lock:
            self._under_way = exchange
        try:
            return self._post(body, exchange)
        except ChainError:
            self._close()
            raise
        except TimeoutError as error:
            self._close()
            raise ChainError("deadline") from error
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            # AttributeError: `http.client` lost its socket to `abort` between two steps
            self._close()
            raise ChainError("unreachable", _why(error)) from error
        finally:
            with self._lock:
                self._under_way = None

    def abort(self, exchange: Exchange) -> None:
        """From another thread: end the exchange, if it is still under way, or when it begins."""
        with self._lock:
            exchange.aborted = True
            if self._under_way is not exchange or self._socket is None:
                return
            # below TLS, whose own ending would wait for the node
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection, and cut off what is under way on it."""
        with self._lock:
            exchange = self._under_way
        if exchange is None:
            self._close()
        else:
            self.abort(exchange)

    def _post(self, body: bytes, exchange: Exchange) -> bytes:
        if self._connection is not None and self._connection.sock is None:
            self._close()  # the last answer was the last on it
        if self._connection is not None:
            try:
                return self._exchange(self._connection, body, exchange)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # closed while it was idle; asking again does no harm: a transaction counts once
                self._close()
        return self._exchange(self._connect(exchange), body, exchange)

    def _connect(self, exchange: Exchange) -> http.client.HTTPConnection:
        seconds = min(CONNECT_S, exchange.left())
        connection: http.client.HTTPConnection
        if self._context is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=seconds)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=seconds, context=self._context)
        with self._lock:
            self._connection = connection
        connection.connect()
        with self._lock:
            self._socket = connection.sock
        return connection

    def _exchange(self, connection: http.client.HTTPConnection, body: bytes, exchange: Exchange) -> bytes:
        sock = self._socket
        assert sock is not None
        sock.settimeout(exchange.left())
        connection.request("POST", self._path, body, self._headers)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise _refusal(answer)
        if (answer.length or 0) > self._max_answer:
            raise ChainError("too_large")
        parts: list[bytes] = []
        size = 0
        while part := answer.read1(_CHUNK):
            size += len(part)
            if size > self._max_answer:
                raise ChainError("too_large")
            parts.append(part)
            left = exchange.left()
            if sock.fileno() >= 0:  # else all was read
                sock.settimeout(left)
        if answer.length:
            raise ChainError("bad_answer", "ends early")
        answer.close()
        return b"".join(parts)

    def _close(self) -> None:
        with self._lock:
            connection, self._connection, self._socket = self._connection, None, None
        if connection is not None:
            connection.close()

    def __repr__(self) -> str:
        return f"Wire({self._host})"


def _refusal(answer: http.client.HTTPResponse) -> ChainError:
    words = f"HTTP status {answer.status}"
    if answer.status in LIMITED:
        after = answer.headers.get("Retry-After", "")
        return LimitedError(words, float(after) if after.isascii() and after.isdigit() else None)
    return WholeRefusedError(words) if answer.status in TOO_MUCH else ChainError("refused", words)


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    return (error.strerror or "") if isinstance(error, OSError) else type(error).__name__

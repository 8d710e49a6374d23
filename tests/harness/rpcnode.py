"""JSON-RPC nodes that misbehave: each is a small server that a test scripts."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

Script = Callable[["Visit"], None]


class Visit:
    """One request, and ways to answer it."""

    def __init__(self, sock: socket.socket, path: str, body: bytes, number: int) -> None:
        self.sock = sock
        self.path = path
        asked = json.loads(body)
        self.plain = isinstance(asked, dict)
        """One call that is no batch."""
        self.calls: list[dict[str, Any]] = [asked] if self.plain else asked
        self.number = number
        """How many requests came before this one."""

    def send(self, body: bytes, status: str = "200 OK", headers: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.sock.sendall(head.encode() + body)

    def answer(self, results: list[Any]) -> None:
        """`results` in the order of the calls; an Exception is an error."""
        self.send_answers([_answer(call, result) for call, result in zip(self.calls, results, strict=True)])

    def send_answers(self, answers: list[dict[str, Any]]) -> None:
        """As they were asked for: in an array, or not."""
        self.send(json.dumps(answers[0] if self.plain else answers).encode())

    def forward(self, port: int) -> list[dict[str, Any]]:
        """What an honest node answers."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request("POST", "/", json.dumps(self.calls), {"Content-Type": "application/json"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def hang(self) -> None:
        """Until the other side has had enough."""
        with contextlib.suppress(OSError):
            while self.sock.recv(65536):
                pass


class RpcNode:
    """Runs `script` for each request, in a thread for each connection."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.visits = 0
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # else it lives as long as somebody waits in accept
        self._listener.close()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with self._lock:
                    self._open.append(sock)
                    self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            for path, body in _requests(sock):
                with self._lock:
                    number, self.visits = self.visits, self.visits + 1
                self.script(Visit(sock, path, body, number))


def _requests(sock: socket.socket) -> Iterator[tuple[str, bytes]]:
    file = sock.makefile("rb")
    while line := file.readline():
        size = 0
        while (header := file.readline().strip()) != b"":
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        body = file.read(size)
        if len(body) < size:
            return  # whoever asks was killed in the middle
        yield line.split()[1].decode(), body


def _answer(call: dict[str, Any], result: Any) -> dict[str, Any]:
    part = {"error": {"code": 3, "message": str(result)}} if isinstance(result, Exception) else {"result": result}
    return {"jsonrpc": "2.0", "id": call["id"], **part}

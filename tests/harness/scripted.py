"""A daemon that answers what a test says, over a real socket: the command line and the SDK above it are the real ones.

It runs in a thread, so that synchronous clients can be tested from a plain test.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.connection import Connection, Notification, Request, decode_params, notification
from nexusd_protocols.rpc.schema import METHODS


@dataclass
class Reply:
    """An answer, what is sent behind it, and whether the connection is then closed."""

    result: msgspec.Struct | Refusal
    then: Sequence[tuple[str, Any]] = ()
    hang_up: bool = False


Script = msgspec.Struct | Refusal | Reply | Callable[..., msgspec.Struct | Refusal | Reply]


@dataclass
class ScriptedDaemon:
    """`script` maps methods to answers, or to functions of the decoded parameters, and of the open file that comes with
    some. `asked` is what came."""

    path: Path
    script: dict[str, Script] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    heard: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen(16)
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def params(self, method: str) -> Any:
        """The parameters of the last request of a method."""
        return [params for name, params in self.asked if name == method][-1]

    def wait_for(self, method: str, seconds: float = 10.0) -> Any:
        """The parameters of a request of a method, once it came."""
        with self.heard:
            assert self.heard.wait_for(lambda: any(name == method for name, _ in self.asked), seconds), method
        return self.params(method)

    def close(self) -> None:
        """Go away; the socket file stays, as after kill -9."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        for sock in self._open:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        machine = Connection()
        file: int | None = None
        try:
            while True:
                try:
                    data, files, _, _ = socket.recv_fds(sock, 65536, 1)
                except OSError:
                    return
                if not data:
                    return
                file = files[0] if files else file
                for event in machine.receive(data):
                    if isinstance(event, Request | Notification):
                        if not self._answer(sock, machine, event, file):
                            return
                        if file is not None:
                            os.close(file)
                            file = None
        finally:
            if file is not None:
                os.close(file)

    def _answer(
        self, sock: socket.socket, machine: Connection, event: Request | Notification, file: int | None
    ) -> bool:
        row = METHODS.get(event.method)
        params = decode_params(event.params, row.params) if row is not None else None
        with self.heard:
            self.asked.append((event.method, params))
            self.heard.notify_all()
        if isinstance(event, Notification):
            return True
        answer = self.script.get(event.method, Refusal("method_not_found"))
        if isinstance(params, Refusal):
            answer = params
        elif callable(answer):
            answer = answer(params) if row is None or row.file is None else answer(params, file)
        reply = answer if isinstance(answer, Reply) else Reply(answer)
        refused = isinstance(reply.result, Refusal)
        line = machine.error(event.id, reply.result) if refused else machine.result(event.id, reply.result)
        try:
            sock.sendall(line)
            for method, struct in reply.then:
                sock.sendall(notification(method, struct))
            if reply.hang_up:
                sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False  # the client went away
        return not reply.hang_up

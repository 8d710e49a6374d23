"""A connection to a daemon that says whatever it wants."""

from __future__ import annotations

import json
import socket
from typing import Any

from nexusd import paths
from tests.harness.daemon import Daemon


class Raw:
    """A connection that says what it wants."""

    def __init__(self, daemon: Daemon) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(str(paths.socket_of(daemon.data_dir)))
        self.file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> Any:
        return json.loads(self.file.readline())

    def ask(self, **message: Any) -> Any:
        self.send(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        return self.answer()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def __enter__(self) -> Raw:  # noqa: PYI034 - a test's own class
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def alive(daemon: Daemon) -> None:
    with Raw(daemon) as raw:
        assert raw.ask(id=1, method="node.status")["result"]["peerId"] == daemon.peer_id

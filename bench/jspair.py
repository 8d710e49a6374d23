"""Two js-libp2p peers, connected, that do the work of a measurement among themselves."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Self

from tests.harness.js import JsPeer

SCRIPT = Path(__file__).parent / "js" / "peer.mjs"


class JsPair:
    """`a` drives (sends, calls), `b` serves."""

    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="nx-js-")
        place = Path(self.directory.name)
        self.b = JsPeer("js-b", place, SCRIPT)
        try:
            self.a = JsPeer("js-a", place, SCRIPT)
        except BaseException:
            self.b.stop()
            raise
        self.a.call("dial", address=self.b.tcp)
        self.b.call("rpcServe", path=str(place / "rpc.sock"))
        for peer in (self.a, self.b):
            peer.call("dmStore", path=str(place / f"{peer.name}.sqlite"))
        self.b.call("dmServe")
        self.b.call("invokeServe")
        joining = [peer.start("join", room="bench") for peer in (self.a, self.b)]
        for peer, number in zip((self.a, self.b), joining, strict=True):
            peer.finish(number)

    @property
    def place(self) -> Path:
        return Path(self.directory.name)

    def call(self, who: JsPeer, cmd: str, /, **options: Any) -> dict[str, Any]:
        return who.call(cmd, timeout=180, **options)

    def close(self) -> None:
        self.a.stop()
        self.b.stop()
        self.directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

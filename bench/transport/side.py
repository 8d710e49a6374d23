"""Two processes of one stack, and what they use of the machine while they work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Self

from bench.program import Program
from tests.harness import go, js

BENCH = Path(__file__).resolve().parents[1]

TRANSPORTS = {"ours": ("tcp", "ws"), "stock": ("tcp", "ws"), "js": ("tcp", "ws"), "go": ("tcp", "ws"), "raw": ("tcp",)}
"""What each stack is measured over."""


def _command(stack: str, role: str, transport: str) -> list[str]:
    if stack == "js":
        return [str(js.NODE), str(BENCH / "js" / "transport.mjs"), role, transport]
    if stack == "go":
        return [str(go.build("transport")), role, transport]
    return [sys.executable, "-m", f"bench.transport.{stack}", role, transport]


class Pair:
    """`far` serves, `near` drives."""

    def __init__(self, stack: str, transport: str, *, pin: bool) -> None:
        self.far = Program(_command(stack, "serve", transport), 0 if pin else None)
        try:
            self.near = Program(_command(stack, "drive", transport), 1 if pin else None)
            self.address = self.far.ready["address"]
            self.near.ask("connect", address=self.address)
        except BaseException:
            self.far.close()
            raise

    @property
    def seconds(self) -> float:
        """Processor time of both."""
        return self.far.seconds + self.near.seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.near.close()
        self.far.close()

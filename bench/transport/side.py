"""Two processes of one stack, and what they use of the machine while they work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import psutil

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


class Program:
    """One process that takes commands."""

    def __init__(self, argv: Sequence[str], cpu: int | None) -> None:
        pinned = ["taskset", "-c", str(cpu)] if cpu is not None else []
        self._process = subprocess.Popen([*pinned, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self._read()

    def ask(self, cmd: str, **options: Any) -> dict[str, Any]:
        """Have a command carried out."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"cmd": cmd, **options}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @property
    def seconds(self) -> float:
        """Processor time so far."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    @property
    def rss(self) -> int:
        """Bytes resident."""
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


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

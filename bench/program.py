"""A process that takes commands and answers them: one JSON object a line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

import psutil


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

"""Processor time: what this program and the peers that it started take for a piece of work, and what other processes
take of the machine meanwhile. A disturbed round says so."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Self

import psutil

DISTURBED = 0.12
"""Share of one core. Next to a neighbour that takes more, the same work was measured 1.6 to 2.3 times slower."""


class Spent:
    """`seconds`: processor time that this process and its children took between entering and leaving. It depends little
    on what else the machine does, so figures of a busy machine can be compared by it."""

    seconds = 0.0

    def __enter__(self) -> Self:
        self._own = _tree()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = _since(self._own)


def _tree() -> dict[int, float]:
    """Seconds so far of this process and each of its children that lives."""
    found = {}
    me = psutil.Process(os.getpid())
    for process in (me, *me.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        found[process.pid] = times.user + times.system + times.children_user + times.children_system
    return found


def _since(before: dict[int, float]) -> float:
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in _tree().items())


def _busy_total() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + getattr(times, "irq", 0) + getattr(times, "softirq", 0))


class Neighbours:
    """`share`: cores that processes outside this one's tree took between entering and leaving. Processes that began and
    ended in between count as neighbours unless a child waited for them, so it errs towards disturbed."""

    share = 0.0

    def __enter__(self) -> Self:
        self._at = time.monotonic()
        self._busy = _busy_total()
        self._own = _tree()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed = time.monotonic() - self._at
        self.share = max(0.0, (_busy_total() - self._busy - _since(self._own)) / elapsed)

"""A virtual clock for what is not all virtual: it stands still while a thread, a disk or another program is at work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from nexusd.store.writer import Writer


class Work:
    """Counts what takes real time. Without any, the clock jumps to the next deadline as soon as all tasks wait."""

    def __init__(self, clock: MockClock) -> None:
        self._clock = clock
        self._count = 0

    def begin(self) -> None:
        """Somebody waits for work."""
        self._count += 1
        self._clock.autojump_threshold = inf

    def end(self) -> None:
        """Nobody waits for it any more."""
        self._count -= 1
        if not self._count:
            self._clock.autojump_threshold = 0

    def counted(self, fn: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The same function, which is work while it is awaited."""

        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.begin()
            try:
                return await fn(*args, **kwargs)
            finally:
                self.end()

        return wrapped


def work_clock(patch: pytest.MonkeyPatch) -> MockClock:
    """One that knows of threads, of the store's writer, and of programs until they are waited for."""
    clock = MockClock(autojump_threshold=0)
    work = Work(clock)
    patch.setattr(trio.to_thread, "run_sync", work.counted(trio.to_thread.run_sync))
    patch.setattr(Writer, "submit", work.counted(Writer.submit))
    patch.setattr(Writer, "close", work.counted(Writer.close))
    opened, waited = trio.lowlevel.open_process, trio.Process.wait
    running: set[trio.Process] = set()

    async def open_process(*args: Any, **kwargs: Any) -> trio.Process:
        process = await opened(*args, **kwargs)
        running.add(process)
        work.begin()
        return process

    async def wait(process: trio.Process) -> int:
        try:
            return await waited(process)
        finally:
            if process in running:
                running.remove(process)
                work.end()

    patch.setattr(trio.lowlevel, "open_process", open_process)
    patch.setattr(trio.Process, "wait", wait)
    return clock

"""One store, made once and copied for each trial; the disk that fails under it; the restart."""

from __future__ import annotations

import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

from nexusd.store import Store
from tests.crash.scenes import Done, Scene
from tests.harness.disk import PowerCutDisk
from tests.harness.soundness import faults

RESTART_S = 2.0
"""Of the processor's time."""
DISK = "nexusd-crash-disk"


class Bench:
    """Copies of a prepared store."""

    def __init__(self, directory: Path) -> None:
        self._made = directory / "made"
        self._made.mkdir()
        self._trial = directory / "trial"
        self.path = self._trial / "store.sqlite"
        self.slowest_s = 0.0

    async def prepare(self, prepare: Callable[[Store], Awaitable[None]] | None) -> None:
        async with Store.open(self._made / "store.sqlite") as store:
            if prepare is not None:
                await prepare(store)

    def take(self, file: Path) -> None:
        """Begin from this file instead."""
        shutil.copyfile(file, self._made / "store.sqlite")

    def fresh(self) -> Path:
        """The store as it was made."""
        shutil.rmtree(self._trial, ignore_errors=True)
        shutil.copytree(self._made, self._trial)
        return self.path

    async def restart(self, check: Callable[[Store], Awaitable[None]]) -> None:
        """Open it on a disk that works: soon, whole, and as `check` wants it."""
        began = time.process_time()
        async with Store.open(self.path) as store:
            self.slowest_s = max(self.slowest_s, time.process_time() - began)
            assert await faults(store) == []
            await check(store)


async def cut(bench: Bench, scene: Scene, operations: int, rng: Random | None) -> tuple[Done, bool]:
    """Let so many operations through. Gives what was acknowledged, and whether the power went before the end."""
    done: Done = {}
    with PowerCutDisk(DISK) as disk:
        async with Store.open(bench.fresh(), vfs=DISK, exclusive=True) as store:
            disk.cut_after(operations)
            await scene.act(store, done)
            dead = disk.dead
            disk.cut_after(0)  # closing must not tidy up either
        disk.settle(rng)
    return done, dead


async def fill(bench: Bench, scene: Scene, writes: int) -> tuple[Done, Done, bool]:
    """Let so many writes through until the disk is full; then make room, and do all of it again. Gives what came of
    both, and whether the disk was full before the end."""
    first: Done = {}
    second: Done = {}
    with PowerCutDisk(DISK) as disk:
        async with Store.open(bench.fresh(), vfs=DISK, exclusive=True) as store:
            disk.full_after(writes)
            await scene.act(store, first)
            full = disk.full
            disk.make_room()
            await scene.act(store, second)
    return first, second, full

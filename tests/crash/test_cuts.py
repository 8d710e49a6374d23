"""The power goes at every operation that changes the disk, and the disk is full at every write. What was acknowledged
is there afterwards, whole; what was not is there whole or not at all; the store is sound, and opens at once."""

import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from random import Random

import pytest

from nexusd.store import Store, room_log
from nexusd.store import writer as writer_module
from nexusd.store.blocks import collection, layout
from nexusd.store.errors import StorageError, StorageFullError
from tests.crash.money import MONEY
from tests.crash.scenes import SCENES, Scene, acknowledged
from tests.crash.trial import DISK, RESTART_S, Bench, cut, fill
from tests.harness.disk import PowerCutDisk
from tests.unit.store.released import FIXTURES, everything, populate

NONE, SOME = "none of the unsynced", "some of the unsynced"
MOST = 2000

scenes = pytest.mark.parametrize("scene", [*SCENES, *MONEY], ids=lambda scene: scene.name)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch) -> None:
    """So that trials fall into the copying of the log, and between the steps of what is done in steps."""
    monkeypatch.setattr(writer_module, "CHECKPOINT_PAGES", 16)
    monkeypatch.setattr(layout, "LOG_PAGES", 8)
    monkeypatch.setattr(collection, "REMOVED_AT_ONCE", 2)
    monkeypatch.setattr(collection, "FREE_KEPT_BYTES", 0)
    monkeypatch.setattr(collection, "SHRUNK_AT_ONCE", 4)
    monkeypatch.setattr(room_log, "EXPIRED_AT_ONCE", 2)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    assert bench.slowest_s < RESTART_S


async def cut_everywhere(bench: Bench, scene: Scene, survivors: str, seed: int) -> None:
    await bench.prepare(scene.prepare)
    for operations in range(MOST):
        rng = Random(seed + operations) if survivors == SOME else None
        done, dead = await cut(bench, scene, operations, rng)
        await bench.restart(partial(scene.check, done=done))
        if not dead:
            break
    else:
        pytest.fail("it never got through")
    assert acknowledged(done) == set(done)
    assert operations > 10


@scenes
async def test_a_cut_at_every_operation(bench, scene) -> None:
    await cut_everywhere(bench, scene, SOME, 0)


@pytest.mark.soak
@scenes
async def test_a_cut_at_every_operation_that_leaves_nothing_unsynced(bench, scene) -> None:
    await cut_everywhere(bench, scene, NONE, 0)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 9))
@scenes
async def test_a_cut_at_every_operation_that_leaves_something_else(bench, scene, seed) -> None:
    await cut_everywhere(bench, scene, SOME, seed * 10_000)


@scenes
async def test_a_full_disk_at_every_write(bench, scene) -> None:
    await bench.prepare(scene.prepare)
    for writes in range(MOST):
        first, second, full = await fill(bench, scene, writes)
        assert all(error is None or isinstance(error, StorageFullError) for error in first.values()), first
        assert acknowledged(second) == set(second), "there is room, and it is not used"
        await bench.restart(partial(scene.check, done=second))
        if not full:
            break
    else:
        pytest.fail("it was always full")


@pytest.mark.parametrize("survivors", [SOME, pytest.param(NONE, marks=pytest.mark.soak)])
async def test_a_cut_at_every_operation_of_a_migration(bench, tmp_path, survivors) -> None:
    async with Store.open(tmp_path / "expected.sqlite") as store:
        await populate(store)
        expected = await everything(store)

    async def check(store: Store) -> None:
        assert await everything(store) == expected

    bench.take(FIXTURES / "store-v3.sqlite")
    for operations in range(MOST):
        path = bench.fresh()
        with PowerCutDisk(DISK) as disk:
            disk.cut_after(operations)
            try:
                async with Store.open(path, vfs=DISK, exclusive=True):
                    disk.cut_after(0)
                opened = True
            except StorageError:
                opened = False
            disk.settle(Random(operations) if survivors == SOME else None)
        shutil.rmtree(path.with_name("store.sqlite.v3.backup"), ignore_errors=True)
        await bench.restart(check)
        if opened:
            break
    else:
        pytest.fail("it never got through")
    assert operations > 50

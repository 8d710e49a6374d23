"""How much room there is for content, on a disk that the test says how full it is."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from nexusd.services.content.disk import Disk
from nexusd.store.errors import StorageFullError
from nexusd_protocols.limits import MIB

GIB = 1024 * MIB


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A disk of a terabyte. `disk.free_bytes` and `disk.pending` are the test's."""
    facts = SimpleNamespace(free=GIB, size=1024 * GIB, pending=0, log=tmp_path / "log")
    monkeypatch.setattr(
        os,
        "statvfs",
        lambda path: SimpleNamespace(f_bavail=facts.free // 4096, f_frsize=4096, f_blocks=facts.size // 4096),
    )
    facts.disk = Disk(tmp_path, facts.log, lambda: facts.pending)
    return facts


def fits(disk: Disk, size: int, **inside: int) -> bool:
    try:
        disk.check(size, **inside)
    except StorageFullError:
        return False
    return True


def test_some_stays_free(disk):
    assert disk.disk.free() == GIB
    assert disk.disk.reserve == 256 * MIB
    # 768 MiB are left, and what is stored is written twice until the log is written anew
    assert fits(disk.disk, 384 * MIB)
    assert not fits(disk.disk, 385 * MIB)
    disk.size = 2 * GIB
    assert disk.disk.reserve == 2 * GIB // 20
    disk.free = disk.disk.reserve // 2
    assert not fits(disk.disk, 0)


def test_what_the_log_holds_is_to_be_written_once_more(disk):
    disk.pending = 400 * MIB
    assert fits(disk.disk, 184 * MIB)
    assert not fits(disk.disk, 185 * MIB)


def test_a_log_that_is_written_anew_does_not_grow(disk):
    with disk.log.open("wb") as file:
        file.truncate(16 * MIB)
    disk.free = 256 * MIB + 16 * MIB
    assert fits(disk.disk, 16 * MIB)
    disk.pending = 16 * MIB
    assert not fits(disk.disk, MIB)


def test_free_pages_of_the_database_are_room(disk):
    disk.free = 256 * MIB + 10 * MIB
    assert not fits(disk.disk, 6 * MIB)
    assert fits(disk.disk, 6 * MIB, inside=6 * MIB)
    assert not fits(disk.disk, 11 * MIB, inside=100 * MIB)

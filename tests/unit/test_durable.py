"""Files with secrets: whole or not at all, for their owner alone, and over no other unless that is meant."""

import os
import stat

import pytest

from nexusd import durable


@pytest.fixture
def path(tmp_path):
    return tmp_path / "secret"


@pytest.mark.parametrize("replace", [True, False])
def test_only_its_owner_reads_it(path, replace):
    durable.write_secret(path, "text", replace=replace)
    assert path.read_text() == "text"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_nlink == 1
    assert list(path.parent.iterdir()) == [path]


def test_one_that_is_there_is_replaced_only_where_that_is_meant(path):
    path.write_text("before")
    with pytest.raises(FileExistsError):
        durable.write_secret(path, "text", replace=False)
    assert path.read_text() == "before"
    durable.write_secret(path, "text", replace=True)
    assert path.read_text() == "text"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("replace", [True, False])
def test_a_disk_that_fails_leaves_nothing_half(path, replace, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        durable.write_secret(path, "text", replace=replace)
    assert list(path.parent.iterdir()) == []


def test_the_name_is_made_durable_behind_the_text(path, monkeypatch):
    synced = []

    def sync(descriptor):
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))

    monkeypatch.setattr(os, "fsync", sync)
    durable.write_secret(path, "text", replace=True)
    assert synced == [False, True]

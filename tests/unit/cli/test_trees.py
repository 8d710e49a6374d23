"""Directories, as they are written and put: whatever their names and however many they are."""

from __future__ import annotations

import os

import pytest

from nexusd.cli import trees
from nexusd.cli.usage import UsageError
from nexusd.client.errors import NexusError
from nexusd_protocols.rpc import schema


class Holder:
    """A daemon that has directories, by CID, and small files."""

    def __init__(self, **entries: list[tuple[str, str]]) -> None:
        self.entries = entries

    def call(self, method, params=None, *, file=None):
        if method == "content.readInto":
            return schema.ContentReadInto(read=os.pwrite(file, b"file", 0), size=4)
        assert method == "content.stat"
        return self.stat(params.cid)

    def stat(self, cid: str) -> schema.ContentStat:
        kind = "directory" if cid in self.entries else "other" if cid == "link" else "file"
        entries = [schema.ContentEntry(name=name, cid=below) for name, below in self.entries.get(cid, [])]
        return schema.ContentStat(
            cid=cid,
            kind=kind,
            codec="raw",
            size=7,
            total_size=7,
            complete=True,
            pins=[],
            entries=entries,
            note="symbolic link",
        )


@pytest.mark.parametrize("name", ["..", ".", "", "/etc/cron.d/x", "../../x", "a/b", "a\0b", "x" * 256, "ü" * 200])
def test_a_name_that_leads_elsewhere_is_not_written(tmp_path, name):
    holder = Holder(root=[("fine", "file"), ("docs", "docs")], docs=[(name, "file")])
    writer = trees.Writer(holder, (), lambda done, label: None)
    with pytest.raises(NexusError) as caught:
        writer.write(holder.stat("root"), tmp_path / "copy")
    assert caught.value.code == "bad_content"
    assert list(tmp_path.iterdir()) == [], "all of it or nothing"


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"root": [("a", "file"), ("a", "file")]}, "twice"),
        ({"root": [("a", "link")]}, "symbolic link"),
        ({"root": [("a", "root")]}, "directories deep"),
    ],
)
def test_directories_that_are_not_written(tmp_path, entries, why):
    holder = Holder(**entries)
    writer = trees.Writer(holder, (), lambda done, label: None)
    with pytest.raises(NexusError, match=why):
        writer.write(holder.stat("root"), tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_written_with_all_that_is_in_it(tmp_path):
    holder = Holder(root=[("docs", "docs"), ("a.txt", "file")], docs=[("empty", "empty")], empty=[])
    writer = trees.Writer(holder, (), lambda done, label: None)
    writer.write(holder.stat("root"), tmp_path / "copy")
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert found == ["copy", "copy/a.txt", "copy/docs", "copy/docs/empty"]
    assert (writer.counted.files, writer.counted.directories, writer.counted.bytes) == (1, 2, 4)


def test_a_directory_names_as_many_files_as_it_likes(tmp_path, monkeypatch):
    monkeypatch.setattr(trees, "FILES", 5)
    holder = Holder(root=[(str(number), "file") for number in range(10)])
    with pytest.raises(NexusError, match="more than 5 files"):
        trees.Writer(holder, (), lambda done, label: None).write(holder.stat("root"), tmp_path / "copy")


def test_directories_that_hold_nothing_but_directories(tmp_path, monkeypatch):
    """Thirty small blocks would name a thousand million of them."""
    monkeypatch.setattr(trees, "FILES", 50)
    holder = Holder(**{f"d{at}": [("a", f"d{at + 1}"), ("b", f"d{at + 1}")] for at in range(8)}, d8=[])
    with pytest.raises(NexusError, match="more than 50 files and directories"):
        trees.Writer(holder, (), lambda done, label: None).write(holder.stat("d0"), tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


class Taker:
    """A daemon that takes whatever is put."""

    def __init__(self) -> None:
        self.directories: list[schema.ContentDirectoryParams] = []

    def call(self, method, params=None, *, file=None):
        match method:
            case "content.begin":
                return schema.ContentUpload(upload=params.name, written=0)
            case "content.writeFrom":
                taken = os.pread(file, params.length, params.offset)
                return schema.ContentWritten(written=params.offset + len(taken))
            case "content.finish":
                return schema.ContentPut(cid=f"cid of {params.upload}", size=1, total_size=1)
        assert method == "content.directory"
        self.directories.append(params)
        return schema.ContentPut(cid=f"cid of {params.name}", size=1, total_size=1)


def test_a_directory_is_put_from_below(tmp_path):
    (tmp_path / "top" / "sub").mkdir(parents=True)
    (tmp_path / "top" / "sub" / "b").touch()
    (tmp_path / "top" / "a").touch()
    (tmp_path / "top" / "link").symlink_to("a")
    taker = Taker()
    putter = trees.Putter(taker, "cache", lambda sent, label: None)
    assert putter.put(tmp_path / "top", "named").cid == "cid of named"
    below, top = taker.directories
    assert (below.name, below.staged, [entry.cid for entry in below.entries]) == ("sub", True, ["cid of b"])
    assert (top.name, top.staged, top.retention) == ("named", False, "cache")
    assert [entry.name for entry in top.entries] == ["a", "sub"]
    assert putter.counted.skipped == [str(tmp_path / "top" / "link")]


def test_a_name_that_no_other_host_could_write(tmp_path):
    (tmp_path / "a").mkdir()
    try:
        (tmp_path / "a" / "\udcff").touch()
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(UsageError, match="not UTF-8"):
        trees.Putter(Taker(), "cache", lambda sent, label: None).put(tmp_path / "a", "a")

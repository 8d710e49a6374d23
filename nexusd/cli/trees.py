"""Files and directories of this host put, and written: the daemon sees bytes and names, never paths."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nexusd.cli.usage import UsageError
from nexusd.client import content
from nexusd.client.content import Caller
from nexusd.client.errors import NexusError
from nexusd_protocols import limits
from nexusd_protocols.content.names import check_name
from nexusd_protocols.content.retention import RetentionClass
from nexusd_protocols.rpc import schema

DEPTH: Final = 64
"""Directories one in the other."""
FILES: Final = 1_000_000
"""Files and directories written for one content: a few small blocks could name as many as anybody likes."""


@dataclass(slots=True)
class Counted:
    """What was put or written so far. `skipped` are paths of what is neither file nor directory."""

    files: int = 0
    directories: int = 0
    bytes: int = 0
    skipped: list[str] = field(default_factory=list)


def size_of(path: Path) -> int:
    """Bytes of all files below a path, as far as they can be seen."""
    if not path.is_dir():
        return path.stat().st_size
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(path) for name in names)


class Putter:
    """Puts files, and directories with all that is in them. `progress` is told the bytes taken."""

    def __init__(self, nexus: Caller, retention: RetentionClass, progress: Callable[[int, str], None]) -> None:
        self._nexus = nexus
        self._retention = retention
        self._progress = progress
        self.counted = Counted()

    def put(self, path: Path, name: str, depth: int = 0) -> schema.ContentPut:
        """A file or a directory; below the first, `depth` is not 0. Raises NexusError, OSError, UsageError."""
        return self._directory(path, name, depth) if path.is_dir() else self._file(path, name, depth)

    def _file(self, path: Path, name: str, depth: int) -> schema.ContentPut:
        before = self.counted.bytes
        put = content.put_file(
            self._nexus,
            path,
            name=name,
            retention=self._retention,
            staged=depth > 0,
            progress=lambda sent: self._progress(before + sent, name),
        )
        self.counted.files += 1
        self.counted.bytes += put.size
        return put

    def _directory(self, path: Path, name: str, depth: int) -> schema.ContentPut:
        if depth > DEPTH:
            raise UsageError(f"{path} is more than {DEPTH} directories deep", "put what is in it by itself")
        entries: list[schema.ContentEntry] = []
        with os.scandir(path) as found:
            inside = sorted(found, key=lambda entry: entry.name)
        for entry in inside:
            if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
                self.counted.skipped.append(entry.path)
                continue
            try:
                check_name(entry.name)
            except ValueError as error:
                raise UsageError(f"{path}: {error}", "rename it") from error
            put = self.put(Path(entry.path), entry.name, depth + 1)
            entries.append(schema.ContentEntry(name=entry.name, cid=put.cid))
        if len(entries) > limits.DIRECTORY_ENTRIES:
            raise UsageError(f"{path} has more than {limits.DIRECTORY_ENTRIES} entries", "put an archive of it")
        params = schema.ContentDirectoryParams(entries=entries, name=name, retention=self._retention, staged=depth > 0)
        made: schema.ContentPut = self._nexus.call("content.directory", params)
        return made


class Writer:
    """Writes content to this host's disk. Names in it come from whoever made it, so each is checked: nothing is written
    outside the target."""

    def __init__(self, nexus: Caller, peers: Sequence[str], progress: Callable[[int, str], None]) -> None:
        self._nexus = nexus
        self._peers = peers
        self._progress = progress
        self.counted = Counted()

    def write(self, found: schema.ContentStat, target: Path) -> None:
        """Write a file or a directory to a path; a directory must not be there. Raises NexusError, OSError."""
        if found.kind != "directory":
            self._file(found.cid, target)
            return
        part = content.part_of(target)
        part.mkdir()
        try:
            self._directory(found, part, 0)
            part.rename(target)
        except BaseException:
            _remove(part)
            raise

    def _file(self, cid: str, target: Path) -> None:
        before = self.counted.bytes
        self.counted.files += 1
        self._check()
        self.counted.bytes += content.save(
            self._nexus,
            cid,
            target,
            peers=self._peers,
            progress=lambda done: self._progress(before + done, target.name),
        )

    def _check(self) -> None:
        if self.counted.files + self.counted.directories > FILES:
            raise NexusError.of("bad_content", f"It names more than {FILES} files and directories")

    def _directory(self, found: schema.ContentStat, target: Path, depth: int) -> None:
        if depth > DEPTH:
            raise NexusError.of("bad_content", f"It is more than {DEPTH} directories deep")
        seen: set[str] = set()
        for entry in content.entries(self._nexus, found, peers=self._peers):
            try:
                check_name(entry.name)
            except ValueError as error:
                raise NexusError.of("bad_content", f"{found.cid} has a name that is not written: {error}") from error
            if entry.name in seen:
                raise NexusError.of("bad_content", f"{found.cid} has the name {entry.name!r} twice")
            seen.add(entry.name)
            params = schema.ContentStatParams(cid=entry.cid, peers=list(self._peers))
            below: schema.ContentStat = self._nexus.call("content.stat", params)
            place = target / entry.name
            if below.kind == "directory":
                self.counted.directories += 1
                self._check()
                place.mkdir()
                self._directory(below, place, depth + 1)
            elif below.kind == "other":
                raise NexusError.of("bad_content", f"{entry.name!r} ({entry.cid}) is a {below.note}: not written")
            else:
                self._file(entry.cid, place)


@contextmanager
def told() -> Iterator[None]:
    """What the file system refuses, told as an error of the command."""
    try:
        yield
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise NexusError("file_error", f"{error.strerror or error}{where}") from error


def _remove(part: Path) -> None:
    """What was written of a directory that is not to be. It holds no links: this program made all of it."""
    for folder, directories, names in os.walk(part, topdown=False):
        for name in names:
            (Path(folder) / name).unlink(missing_ok=True)
        for name in directories:
            (Path(folder) / name).rmdir()
    if stat.S_ISDIR(part.lstat().st_mode):
        part.rmdir()

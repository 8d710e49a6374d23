"""A disk that loses power: writes stay in memory until they are synced, and a cut loses or tears what was not.

    with PowerCutDisk("cut") as disk:      # a VFS for apsw; databases on it need exclusive locking (no shared memory)
        disk.cut_after(n)                  # the n+1st write, truncation or sync fails, and everything behind it
        ...
        disk.settle(rng)                   # what the platters hold after the cut: some of the unsynced writes, one torn

Pulling the plug is what `kill -9` does not show: the kernel keeps written pages through a kill, a cut does not.
Names of files are taken as durable at once; the store syncs the directory itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Self

import apsw

SECTOR = 512


def _io_error(code: int, text: str) -> apsw.IOError:
    error = apsw.IOError(text)
    error.extendedresult = code
    return error


class PowerCutDisk(apsw.VFS):
    """Registered under `name` while open. Counts every operation that changes the disk."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.files: list[_File] = []
        self.operations = 0
        self.dead = False
        self.full = False
        """Whether no write is taken."""
        self.room: int | None = None
        """Bytes that the files may grow to together; None: no limit."""
        self.sync_fails = False
        self.on_sync: Callable[[], object] | None = None
        """Called in the writing thread before each sync takes effect; may block."""
        self._budget: int | None = None
        self._writes: int | None = None
        super().__init__(name, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.files.clear()
        self.unregister()

    def cut_after(self, operations: int) -> None:
        """Let this many more operations through, then cut the power."""
        self._budget = self.operations + operations

    def full_after(self, writes: int) -> None:
        """Let so many more writes through, then be full until `make_room`."""
        self._writes = writes

    def make_room(self) -> None:
        """Be full no more."""
        self.full = False
        self._writes = None

    def settle(self, rng: Random | None = None) -> None:
        """Write down what survived the cut. Without `rng` nothing that was not synced; with it each unsynced write
        survives or not by itself, and some only in part, by sectors."""
        for file in self.files:
            file.settle(rng)

    def xOpen(self, name: Any, flags: list[int]) -> _File:  # noqa: N802 - apsw's name
        return _File(self, name, flags)

    def operate(self) -> None:
        """Count one operation; raises once the power is gone."""
        self.operations += 1
        if self.dead or (self._budget is not None and self.operations > self._budget):
            self.dead = True
            raise _io_error(apsw.SQLITE_IOERR_WRITE, "power cut")

    def reserve(self, growth: int) -> None:
        """Raises FullError if the files have grown to the limit, or so many writes were made as were allowed."""
        if self._writes is not None:
            self._writes -= 1
            self.full = self.full or self._writes < 0
        if self.full:
            raise apsw.FullError("no room")
        if self.room is None or growth <= 0:
            return
        if sum(file.xFileSize() for file in self.files if not file.closed) + growth > self.room:
            raise apsw.FullError("no room")


class _File(apsw.VFSFile):
    """A file with its unsynced operations on top: (offset, bytes) or (size, None) for a truncation."""

    def __init__(self, disk: PowerCutDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._pending: list[tuple[int, bytes | None]] = []
        self._size: int | None = None
        self.closed = False
        self._path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        super().__init__("", name, flags)
        disk.files.append(self)

    def xFileSize(self) -> int:  # noqa: N802 - apsw's name
        return super().xFileSize() if self._size is None else self._size

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802 - apsw's name
        self._disk.operate()
        self._disk.reserve(offset + len(data) - self.xFileSize())
        self._size = max(self.xFileSize(), offset + len(data))
        self._pending.append((offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802 - apsw's name
        self._disk.operate()
        self._size = size
        self._pending.append((size, None))

    def xSync(self, _flags: int) -> None:  # noqa: N802 - apsw's name
        self._disk.operate()
        if self._disk.on_sync is not None:
            self._disk.on_sync()
        if self._disk.sync_fails:
            raise _io_error(apsw.SQLITE_IOERR_FSYNC, "fsync failed")
        for offset, data in self._pending:
            if data is None:
                super().xTruncate(offset)
            else:
                super().xWrite(data, offset)
        self._pending.clear()
        self._size = None  # the file below need not be synced: it is the platters

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - apsw's name
        stored = super().xFileSize()
        base = super().xRead(min(amount, stored - offset), offset) if offset < stored else b""
        view = bytearray(base.ljust(amount, b"\0"))
        for start, data in self._pending:
            if data is None:
                view[max(0, start - offset) :] = bytes(amount - min(amount, max(0, start - offset)))
                continue
            first, last = max(start, offset), min(start + len(data), offset + amount)
            if first < last:
                view[first - offset : last - offset] = data[first - start : last - start]
        return bytes(view[: max(0, min(amount, self.xFileSize() - offset))])

    def xClose(self) -> None:  # noqa: N802 - apsw's name
        self.closed = True
        super().xClose()

    def xDeviceCharacteristics(self) -> int:  # noqa: N802 - apsw's name
        return 0  # promises nothing: no atomic writes, no safe append

    def settle(self, rng: Random | None) -> None:
        """Put down what survived, behind SQLite's back."""
        if rng is not None and self._pending and self._path.exists():
            with self._path.open("r+b") as file:
                for offset, data in self._pending:
                    match rng.randrange(3):
                        case 0:
                            continue
                        case 1 if data is not None and len(data) > SECTOR:
                            kept = data[: rng.randrange(1, -(-len(data) // SECTOR)) * SECTOR]
                        case _:
                            kept = data if data is not None else b""
                    if data is None:
                        file.truncate(offset)
                    else:
                        file.seek(offset)
                        file.write(kept)
        self._pending.clear()
        self._size = None


def flip_bit(path: Path, bit: int) -> None:
    """Damage a file at rest."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))

"""One SQLite database: a writer that commits in groups, two readers, and a file that is checked before it is used.

WAL with `synchronous=FULL`: a commit returns after the fsync of the log, so what was acknowledged survives a power cut
(NORMAL, which syncs at checkpoints only, loses acknowledged rows). Readers see the last commit before they began and
never wait for the writer.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import apsw
import trio

from nexusd import durable
from nexusd.store.errors import StorageClosedError, StorageCorruptError, StorageError, StorageFailedError
from nexusd.store.schema import Layout, Migration, check_version, migrate, shipped_migrations, version_of
from nexusd.store.watermark import Watermark
from nexusd.store.writer import BUSY_MS, Writer

T = TypeVar("T")

READERS: Final = 2

CLOSE_SECONDS: Final = 5.0
"""How long closing waits for a disk that does not answer. The log holds what was acknowledged."""


class Database:
    """Runs functions on connections, in threads. Open it with `Database.open`."""

    def __init__(self, path: Path, writer: Writer, readers: list[apsw.Connection], watermark: Watermark) -> None:
        self.path: Final = path
        self.watermark: Final = watermark
        self._writer = writer
        self._readers = readers
        self._limiter = trio.CapacityLimiter(max(1, len(readers)))
        self._reads_writer = not readers
        self._closed = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path,
        *,
        watermark: Watermark,
        layout: Layout | None = None,
        migrations: Sequence[Migration] | None = None,
        vfs: str = "",
        exclusive: bool = False,
    ) -> AsyncIterator[Database]:
        """Open the database, making or migrating it if need be; it is closed, its log emptied, on leaving. `layout` is
        that of the store if none is given, `migrations` are others than its own.

        Before an older database is migrated, a copy is kept beside it as `<name>.v<version>.backup`. `exclusive` is
        for file systems (`vfs`) without shared memory, such as the one that simulates power cuts: the writer's
        connection then serves the reads too.

        Raises NewerStoreError, StorageCorruptError, StorageError.
        """
        known = layout or Layout(shipped_migrations() if migrations is None else migrations)
        connections, mark = await trio.to_thread.run_sync(_open_all, path, known, watermark, vfs, exclusive)
        watermark.move(mark)
        writer = Writer(connections[0], watermark, known.log_pages)
        database = cls(path, writer, connections[1:], watermark)
        writer.start()
        try:
            yield database
        finally:
            with trio.move_on_after(CLOSE_SECONDS) as scope:
                scope.shield = True
                await database.close()

    async def write(self, fn: Callable[[apsw.Connection], T]) -> T:
        """Run `fn(connection)` in the writer thread, inside a transaction that it shares with others, and return its
        value once that is on disk. If `fn` raises, its changes (only its) are undone and the error is raised here.

        `fn` may still run after the caller was cancelled: let it use nothing that the caller may change.
        Raises StorageFullError (try again later), StorageFailedError (never again), StorageError, StorageClosedError;
        after each of these nothing of it is stored.
        """
        value: T = await self._writer.submit(fn)
        return value

    async def read(self, fn: Callable[[apsw.Connection], T]) -> T:
        """Run `fn(connection)` in a thread on one consistent state that includes every acknowledged write.
        Cancellation takes effect when it has ended. Raises StorageError, StorageClosedError."""
        if self._reads_writer:
            return await self.write(fn)
        if self._closed:
            raise StorageClosedError("The store is closed")
        return await trio.to_thread.run_sync(self._read, fn, limiter=self._limiter)

    async def read_recent(self, fn: Callable[[apsw.Connection], T]) -> T:
        """As `read`, of a few rows that were written a moment ago: their pages are in memory, and so it is done here
        and now. A thread would take longer to wake than they take to read."""
        if self._reads_writer or self._closed or not self._limiter.available_tokens:
            return await self.read(fn)
        await trio.lowlevel.checkpoint_if_cancelled()
        return self._read(fn)  # whoever holds a token has a reader of its own, and none can be taken meanwhile

    async def backup(self, path: Path) -> None:
        """Copy the database, as it is now, to a new file while it stays in use. The file is complete or absent.
        Raises FileExistsError, StorageError."""
        await trio.to_thread.run_sync(_back_up, self.path, path)

    async def integrity(self) -> list[str]:
        """What is wrong with the file, after reading all of it; empty if nothing is."""
        return await self.read(lambda connection: _faults(connection, "integrity_check"))

    async def wait_failed(self) -> StorageFailedError:
        """Wait until the disk has failed so that nothing will be written any more, and return the failure."""
        return await self._writer.wait_failed()

    @property
    def failed(self) -> bool:
        """Whether the disk has failed so that nothing will be written any more."""
        return self._writer.failed

    @property
    def log_pages(self) -> int:
        """Pages that wait in the log to be copied into the file."""
        return self._writer.log_pages

    @property
    def commits(self) -> int:
        """Commits since the opening: the writes divided by it are the size of the mean group."""
        return self._writer.commits

    async def close(self) -> None:
        """Refuse more, finish what was asked, empty the log and close the file."""
        self._closed = True
        self.watermark.close()
        for _ in range(len(self._readers)):
            await self._limiter.acquire_on_behalf_of(object())
        for reader in self._readers:
            reader.close(True)
        self._readers.clear()
        await self._writer.close()

    def _read(self, fn: Callable[[apsw.Connection], T]) -> T:
        if not self._readers:
            raise StorageClosedError("The store is closed")
        reader = self._readers.pop()  # the limiter sees to it that there is one
        try:
            reader.execute("BEGIN")
            try:
                return fn(reader)
            finally:
                reader.execute("ROLLBACK")
        except (apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.BusyError, apsw.FullError) as error:
            raise StorageError(f"The store cannot be read: {error}") from error
        finally:
            self._readers.append(reader)


def _open_all(
    path: Path, layout: Layout, watermark: Watermark, vfs: str, exclusive: bool
) -> tuple[list[apsw.Connection], int]:
    """The writer and the readers of a database of the newest version, and where its watermark is."""
    connections: list[apsw.Connection] = []
    try:
        new = not path.exists()
        if new and not vfs:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # SQLite gives its log the same mode
        writer = apsw.Connection(str(path), vfs=vfs or None)
        connections.append(writer)
        writer.set_busy_timeout(BUSY_MS)
        if exclusive:
            writer.pragma("locking_mode", "exclusive")
        _check(path, writer, layout)
        if not path.stat().st_size:  # both are settled by the first thing written
            writer.pragma("page_size", layout.page_size)
            writer.pragma("auto_vacuum", "incremental" if layout.shrinks else "none")
        if writer.pragma("journal_mode", "wal") != "wal":
            raise StorageError(f"{path} is on a file system without shared memory")
        writer.pragma("synchronous", "full")
        writer.pragma("foreign_keys", True)
        writer.pragma("cell_size_check", True)
        writer.pragma("trusted_schema", False)
        writer.pragma("journal_size_limit", 16 * 1024 * 1024)
        version = version_of(writer, layout.application_id)
        if 0 < version < len(layout.migrations):
            _copy(writer, path.with_name(f"{path.name}.v{version}.backup"))
        migrate(writer, version, layout)  # what it sorts may be larger than memory
        writer.pragma("temp_store", "memory")
        if new and not vfs:
            durable.sync_directory(path.parent)
        if not exclusive:
            connections += [_open_reader(path) for _ in range(READERS)]
        mark = watermark.measure(writer)
    except BaseException as error:
        for connection in connections:
            with contextlib.suppress(apsw.Error):  # the disk that failed once does so again
                connection.close(True)
        match error:
            case apsw.NotADBError() | apsw.CorruptError():
                raise StorageCorruptError(f"{path} is damaged ({error}): put a backup in its place") from error
            case StorageError():
                raise
            case apsw.Error() | OSError():
                raise StorageError(f"{path} cannot be opened: {error}") from error
            case _:
                raise
    return connections, mark


def _check(path: Path, connection: apsw.Connection, layout: Layout) -> None:
    """Refuse a file that is no sound store, or too new a one, before anything of it is changed."""
    check_version(version_of(connection, layout.application_id), layout.migrations)
    if path.exists() and path.stat().st_size <= layout.checked_bytes and (faults := _faults(connection, "quick_check")):
        raise StorageCorruptError(f"{path} is damaged ({faults[0]}): put a backup in its place")


def _faults(connection: apsw.Connection, check: str) -> list[str]:
    return [text for (text,) in connection.execute(f"PRAGMA {check}(10)") if text != "ok"]


def _open_reader(path: Path) -> apsw.Connection:
    reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    reader.set_busy_timeout(BUSY_MS)
    reader.pragma("query_only", True)
    reader.pragma("trusted_schema", False)
    return reader


def _back_up(source: Path, target: Path) -> None:
    """Copy a database that others may be writing to."""
    if target.exists():
        raise FileExistsError(f"{target} exists already")
    try:
        reader = _open_reader(source)
        try:
            _copy(reader, target)
        finally:
            reader.close(True)
    except apsw.Error as error:
        raise StorageError(f"The backup to {target} failed: {error}") from error


def _copy(connection: apsw.Connection, target: Path) -> None:
    """Copy with SQLite's online backup, in one step, so that writers do not make it begin again."""
    part = target.with_name(target.name + ".part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        copy = apsw.Connection(str(part))
        try:
            with copy.backup("main", connection, "main") as backup:
                backup.step(-1)
            copy.pragma("journal_mode", "delete")  # one file, whole without a log beside it
        finally:
            copy.close(True)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
        durable.sync_directory(target.parent)
    finally:
        part.unlink(missing_ok=True)

"""The one writer: a thread that commits in groups.

    Trio tasks --submit--> queue --take all that wait--> BEGIN; fn, fn, fn; COMMIT (fsync) --> release all of them

While one group is being synced the next one gathers, so a busy store pays one fsync for many callers, and an idle one
commits at once. Nobody is told a result before the fsync that covers it has returned.

Each function runs in a savepoint: if it raises, its own changes are undone, its caller gets the error, and the group
goes on. When the disk itself fails, the whole group is undone and every caller in it gets the error.
"""

from __future__ import annotations

import contextlib
import errno
import queue
import threading
from collections.abc import Callable
from typing import Any, Final

import apsw
import trio

from nexusd.store.errors import StorageClosedError, StorageError, StorageFailedError, StorageFullError
from nexusd.store.watermark import Watermark

Write = Callable[[apsw.Connection], Any]

GROUP_JOBS: Final = 256
"""Functions in one commit. Beyond a hundred the fsync is paid for many times over; the bound keeps the first of a group
from waiting for thousands."""

QUEUED_JOBS: Final = 4096
"""Functions that wait; further callers wait before they are queued."""

CHECKPOINT_PAGES: Final = 1000
"""Pages in the write-ahead log (4 MiB) before they are copied into the database: SQLite's own default."""

RESTART_TIMES: Final = 8
"""So many times that, and the copying waits for readers, so that the log begins anew instead of growing."""

RESTART_WAIT_MS: Final = 200

BUSY_MS: Final = 5000
"""How long a statement waits for another program that holds the file, such as a backup tool."""

_DISK_ERRORS: Final = (
    apsw.FullError,
    apsw.IOError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.NoMemError,
    apsw.BusyError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
)
"""Failures of what is below SQL: they undo the whole group. Anything else is the doing of one function."""


class Job:
    """A function that waits for its commit, and what came of it."""

    __slots__ = ("done", "error", "fn", "value")

    def __init__(self, fn: Write) -> None:
        self.fn = fn
        self.done = trio.Event()
        self.value: Any = None
        self.error: Exception | None = None


class Writer:
    """Owns the writing connection from `start` on, and closes it at the end."""

    def __init__(self, connection: apsw.Connection, watermark: Watermark, log_pages: int | None = None) -> None:
        """`log_pages`, if given, stands in the place of CHECKPOINT_PAGES."""
        self._connection = connection
        self._given_log_pages = log_pages
        self._watermark = watermark
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._slots = trio.Semaphore(QUEUED_JOBS)
        self._thread = threading.Thread(target=self._run, name="nexusd-store-writer", daemon=True)
        self._closing = False
        self._finished = trio.Event()
        self._failed = trio.Event()
        self._wal_pages = 0
        self._wal_copied = 0
        self._wal_due = False
        self.failure: StorageFailedError | None = None
        self.commits = 0

    def start(self) -> None:
        """Begin, in the Trio run that will submit."""
        self._token = trio.lowlevel.current_trio_token()
        # SQLite's own checkpointing would run inside COMMIT, before the callers are released
        self._connection.set_wal_hook(self._note_wal_pages)
        self._thread.start()

    async def submit(self, fn: Write) -> Any:
        """Run `fn(connection)` in a group, and return its value once the group is on disk."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            await self._slots.acquire()
        if self._closing or self.failure is not None:
            self._slots.release()
            raise self.failure_for_caller()
        job = Job(fn)
        self._queue.put(job)
        await job.done.wait()
        if job.error is not None:
            raise job.error
        return job.value

    def failure_for_caller(self) -> StorageError:
        """Why nothing is written any more."""
        if self.failure is not None:
            return _again(self.failure)
        return StorageClosedError("The store is closed")

    @property
    def failed(self) -> bool:
        """Whether the disk has failed so that nothing is written any more."""
        return self._failed.is_set()

    @property
    def log_pages(self) -> int:
        """Pages in the log that are not copied into the database yet; of one that was found at the start, none."""
        return max(0, self._wal_pages - self._wal_copied)

    async def wait_failed(self) -> StorageFailedError:
        """Wait until the disk has failed so that nothing is written any more."""
        await self._failed.wait()
        assert self.failure is not None
        return self.failure

    async def close(self) -> None:
        """Finish what is queued, then copy the log into the database and close it."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        await self._finished.wait()

    # --- the thread -----------------------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            while (jobs := self._take()) is not None:
                self._write(jobs)
                self._checkpoint()
        finally:
            self._close_connection()
            self._tell(self._finished.set)

    def _take(self) -> list[Job] | None:
        """All that wait, at least one; None once everything before the closing was taken."""
        first = self._queue.get()
        if first is None:
            return None
        jobs = [first]
        while len(jobs) < GROUP_JOBS:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._queue.put(None)  # nothing is submitted after it, so it stays the last
                break
            jobs.append(job)
        return jobs

    def _write(self, jobs: list[Job]) -> None:
        try:
            if self.failure is not None:
                raise self.failure
            mark = self._commit(jobs)
        except Exception as error:
            failure = self._undo(error)
            for job in jobs:
                job.value = None
                job.error = _again(failure)
            mark = 0
        self._tell(self._release, jobs, mark)

    def _commit(self, jobs: list[Job]) -> int:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        for job in jobs:
            connection.execute("SAVEPOINT job")
            try:
                job.value = job.fn(connection)
            except _DISK_ERRORS:
                raise
            except Exception as error:
                if not connection.in_transaction:
                    raise
                job.error = error
                connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
        mark = self._watermark.measure(connection)
        connection.execute("COMMIT")
        self.commits += 1
        return mark

    def _undo(self, error: Exception) -> StorageError:
        """Roll back, and say what the callers are told; a disk that cannot be trusted ends all writing."""
        failure = storage_error(error, self._connection)
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as rollback:
            failure = storage_error(rollback, self._connection)
        if isinstance(failure, StorageFailedError) and self.failure is None:
            self.failure = failure
            self._tell(self._failed.set)
        elif isinstance(failure, StorageFullError):
            self._wal_due = True  # a log that was copied begins anew and needs no room
        return failure

    @property
    def _log_pages(self) -> int:
        return self._given_log_pages or CHECKPOINT_PAGES

    def _note_wal_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        if pages < self._wal_pages:
            self._wal_copied = 0  # the log began anew
        self._wal_pages = pages
        self._wal_due = self._wal_due or pages - self._wal_copied >= self._log_pages
        return int(apsw.SQLITE_OK)

    def _checkpoint(self) -> None:
        """Copy the log into the database when it has grown; the callers are released already."""
        if not self._wal_due or self.failure is not None:
            return
        connection = self._connection
        self._wal_due = False
        try:
            if self._wal_pages >= RESTART_TIMES * self._log_pages:
                connection.set_busy_timeout(RESTART_WAIT_MS)
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
            else:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:
            pass  # a reader is in the way: again when the log has grown by as much
        except apsw.Error as error:
            self._undo(error)  # the log still holds it all, so a full disk loses nothing
        finally:
            connection.set_busy_timeout(BUSY_MS)
        self._wal_copied = self._wal_pages

    def _close_connection(self) -> None:
        with contextlib.suppress(apsw.Error):  # the log holds it all, and the next start reads it
            if self.failure is None:
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        with contextlib.suppress(apsw.Error):  # a disk that failed does so here again
            self._connection.close(True)

    def _tell(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(trio.RunFinishedError):  # then nobody is left to be told
            self._token.run_sync_soon(function, *args)

    # --- back in Trio ---------------------------------------------------------------------------------------------
    def _release(self, jobs: list[Job], mark: int) -> None:
        self._watermark.move(mark)
        for job in jobs:
            self._slots.release()
            job.done.set()


def storage_error(error: Exception, connection: apsw.Connection) -> StorageError:
    """What an error below SQL means for the store."""
    if isinstance(error, StorageError):
        return error
    if _is_full(error, connection):
        failure: StorageError = StorageFullError("The disk is full: nothing of this was stored")
    elif isinstance(error, apsw.IOError | apsw.CorruptError | apsw.NotADBError):
        failure = StorageFailedError(f"The disk failed ({error}): nothing is stored until the daemon is restarted")
    elif isinstance(error, apsw.BusyError):
        failure = StorageError("Another program holds the store: nothing of this was stored")
    else:
        failure = StorageError(f"Nothing of this was stored: {error}")
    failure.__cause__ = error
    return failure


_FSYNC_ERRORS: Final = (apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC)


def _is_full(error: Exception, connection: apsw.Connection) -> bool:
    """Whether only room is missing. A quota is an I/O error to SQLite, and so is a full disk on which the log's index
    cannot grow. A failed fsync is never harmless, whatever its errno: the kernel may have dropped the pages."""
    if isinstance(error, apsw.FullError):
        return True
    if not isinstance(error, apsw.IOError):
        return False
    code = getattr(error, "extendedresult", 0)  # missing from apsw's stubs
    if code in _FSYNC_ERRORS:
        return False
    return code == apsw.SQLITE_IOERR_SHMSIZE or connection.system_errno in (errno.ENOSPC, errno.EDQUOT)


def _again(error: StorageError) -> StorageError:
    """A copy to raise: an exception raised by many tasks would gather all their tracebacks."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy

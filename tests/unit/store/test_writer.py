"""Group commit, and what callers are told when functions, disks and callers fail."""

import threading
from pathlib import Path

import apsw
import pytest
import trio

from nexusd.store import writer as writer_module
from nexusd.store.database import CLOSE_SECONDS, Database
from nexusd.store.errors import StorageClosedError, StorageError, StorageFailedError, StorageFullError
from nexusd.store.schema import Migration
from nexusd.store.watermark import Watermark

NOTES = (Migration(1, "CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL) STRICT"),)


def opened(path: Path, **options):
    return Database.open(path, watermark=Watermark("notes"), migrations=NOTES, **options)


def note(text: str):
    def write(connection: apsw.Connection) -> int:
        connection.execute("INSERT INTO notes (text) VALUES (?)", (text,))
        return connection.last_insert_rowid()

    return write


def notes(connection: apsw.Connection) -> list[str]:
    return [text for (text,) in connection.execute("SELECT text FROM notes ORDER BY id")]


class SyncGate:
    """Holds back the fsync of the commit that is next, so that a test can look at what waits for it."""

    def __init__(self, disk) -> None:
        self._disk = disk
        self._token = trio.lowlevel.current_trio_token()
        self._gate = threading.Event()
        self.reached = trio.Event()  # a commit that never syncs is a test that times out
        disk.on_sync = self._hold

    def _hold(self) -> None:
        self._token.run_sync_soon(self.reached.set)
        assert self._gate.wait(30)

    def open(self) -> None:
        self._disk.on_sync = None
        self._gate.set()


@pytest.fixture
async def on_disk(disk, tmp_path):
    async with opened(tmp_path / "notes.sqlite", vfs=disk.name, exclusive=True) as database:
        yield database


async def test_a_write_returns_its_value(tmp_path) -> None:
    async with opened(tmp_path / "notes.sqlite") as database:
        assert await database.write(note("one")) == 1
        assert await database.write(note("two")) == 2
        assert await database.read(notes) == ["one", "two"]


async def test_nobody_is_told_before_the_fsync(on_disk, disk) -> None:
    gate = SyncGate(disk)
    told = trio.Event()

    async def write() -> None:
        await on_disk.write(note("one"))
        told.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await gate.reached.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert not told.is_set()
        assert on_disk.watermark.value == 0
        gate.open()
    assert told.is_set()
    assert on_disk.watermark.value == 1


async def test_those_who_wait_for_an_fsync_share_the_next(on_disk, disk) -> None:
    gate = SyncGate(disk)
    before = on_disk.commits
    positions = []

    async def write(number: int) -> None:
        positions.append(await on_disk.write(note(str(number))))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, 0)
        await gate.reached.wait()
        for number in range(1, 51):
            nursery.start_soon(write, number)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert on_disk.commits - before == 2
    assert sorted(positions) == list(range(1, 52))


async def test_many_writers_make_few_commits_and_each_sees_its_own_row(tmp_path) -> None:
    path = tmp_path / "notes.sqlite"
    async with opened(path) as database:
        other = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)

        async def write(number: int) -> None:
            row = await database.write(note(str(number)))
            assert other.execute("SELECT text FROM notes WHERE id = ?", (row,)).get == str(number)

        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(write, number)
        other.close()
        assert database.commits < 100


async def test_more_writers_than_the_queue_holds_all_get_through(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(writer_module, "QUEUED_JOBS", 3)
    monkeypatch.setattr(writer_module, "GROUP_JOBS", 2)
    async with opened(tmp_path / "notes.sqlite") as database:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(database.write, note(str(number)))
        assert len(await database.read(notes)) == 50
        assert database.commits >= 25


async def test_a_failing_function_undoes_only_itself(on_disk, disk) -> None:
    gate = SyncGate(disk)
    errors = []

    def fails(connection: apsw.Connection) -> None:
        note("never")(connection)
        raise LookupError("mallory")

    async def failing() -> None:
        try:
            await on_disk.write(fails)
        except LookupError as error:
            errors.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(on_disk.write, note("one"))
        await gate.reached.wait()
        nursery.start_soon(on_disk.write, note("two"))
        nursery.start_soon(failing)
        nursery.start_soon(on_disk.write, note("three"))
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert errors == ["mallory"]
    assert sorted(await on_disk.read(notes)) == ["one", "three", "two"]


async def test_a_wrong_statement_is_its_callers_error_and_no_disk_failure(tmp_path) -> None:
    async with opened(tmp_path / "notes.sqlite") as database:
        with pytest.raises(apsw.SQLError):
            await database.write(lambda connection: connection.execute("INSERT INTO nothing VALUES (1)"))
        assert await database.write(note("one")) == 1


async def test_a_function_that_ends_the_transaction_stores_nothing(tmp_path) -> None:
    async with opened(tmp_path / "notes.sqlite") as database:

        def rolls_back(connection: apsw.Connection) -> None:
            note("never")(connection)
            connection.execute("ROLLBACK")

        with pytest.raises(StorageError):
            await database.write(rolls_back)
        await database.write(note("one"))
        assert await database.read(notes) == ["one"]


async def test_a_cancelled_callers_write_finishes(on_disk, disk) -> None:
    gate = SyncGate(disk)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(on_disk.write, note("one"))
            await gate.reached.wait()
            scope.cancel()
    assert scope.cancelled_caught
    gate.open()
    assert await on_disk.read(notes) == ["one"]


async def test_a_write_of_the_already_cancelled_never_begins(tmp_path) -> None:
    async with opened(tmp_path / "notes.sqlite") as database:
        with trio.CancelScope() as scope:
            scope.cancel()
            await database.write(note("never"))
        assert scope.cancelled_caught
        await database.write(note("one"))
        assert await database.read(notes) == ["one"]


async def test_a_full_disk_fails_the_whole_group_and_writing_goes_on_after_it(on_disk, disk) -> None:
    await on_disk.write(note("kept"))
    gate = SyncGate(disk)
    refused = []

    def last_to_fit(connection: apsw.Connection) -> None:
        note("small")(connection)
        disk.room = 0  # from now on, in the midst of the group

    async def write(fn) -> None:
        try:
            await on_disk.write(fn)
        except StorageFullError:
            refused.append(fn)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(on_disk.write, note("also kept"))
        await gate.reached.wait()
        for fn in (last_to_fit, note("x" * 100_000), note("small too")):
            nursery.start_soon(write, fn)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert len(refused) == 3
    assert on_disk.watermark.value == 2
    with pytest.raises(StorageFullError):
        await on_disk.write(note("x" * 100_000))
    disk.room = None
    await on_disk.write(note("after"))
    assert await on_disk.read(notes) == ["kept", "also kept", "after"]


async def test_a_full_log_is_copied_so_that_it_can_begin_anew(disk, tmp_path) -> None:
    def rewrite(connection: apsw.Connection) -> None:
        connection.execute("UPDATE notes SET text = text || 'x'")

    path = tmp_path / "notes.sqlite"
    async with opened(path, vfs=disk.name, exclusive=True) as database:
        await database.write(note("kept"))
    async with opened(path, vfs=disk.name, exclusive=True) as database:
        disk.room = path.stat().st_size + 64 * 1024
        full = 0
        for _ in range(100):  # the database stays as large as it is, its log would not
            try:
                await database.write(rewrite)
            except StorageFullError:
                full += 1
        assert 0 < full < 20
        assert await database.read(notes) == ["kept" + "x" * (100 - full)]


async def test_a_database_at_its_page_limit_is_full(tmp_path) -> None:
    async with opened(tmp_path / "notes.sqlite") as database:
        pages = await database.write(lambda connection: connection.pragma("page_count"))
        await database.write(lambda connection: connection.pragma("max_page_count", pages))
        with pytest.raises(StorageFullError):
            await database.write(note("x" * 100_000))
        await database.write(lambda connection: connection.pragma("max_page_count", 1 << 30))
        await database.write(note("after"))
        assert await database.read(notes) == ["after"]


async def test_a_failed_fsync_ends_all_writing(on_disk, disk, tmp_path) -> None:
    await on_disk.write(note("kept"))
    disk.sync_fails = True
    with pytest.raises(StorageFailedError) as caught:
        await on_disk.write(note("lost"))
    assert isinstance(caught.value.__cause__, apsw.IOError)
    disk.sync_fails = False
    with pytest.raises(StorageFailedError):
        await on_disk.write(note("refused, although the disk works again"))
    with trio.fail_after(5):
        assert isinstance(await on_disk.wait_failed(), StorageFailedError)


async def test_reading_goes_on_after_the_disk_failed(tmp_path, monkeypatch) -> None:
    async with opened(tmp_path / "notes.sqlite") as database:
        await database.write(note("kept"))

        def breaks(_: apsw.Connection) -> None:
            raise apsw.CorruptError("a page is damaged")

        with pytest.raises(StorageFailedError):
            await database.write(breaks)
        assert await database.read(notes) == ["kept"]


async def test_another_program_that_holds_the_store_is_an_error_that_passes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("nexusd.store.database.BUSY_MS", 1)
    path = tmp_path / "notes.sqlite"
    async with opened(path) as database:
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="Another program"):
            await database.write(note("refused"))
        other.execute("ROLLBACK")
        other.close()
        await database.write(note("one"))
        assert await database.read(notes) == ["one"]


async def test_closing_finishes_what_was_asked_and_refuses_more(tmp_path) -> None:
    path = tmp_path / "notes.sqlite"
    async with trio.open_nursery() as nursery:
        with trio.fail_after(CLOSE_SECONDS):  # closing a healthy store does not run into its deadline
            async with opened(path) as database:
                for number in range(20):
                    nursery.start_soon(database.write, note(str(number)))
                await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(StorageClosedError):
            await database.write(note("late"))
        with pytest.raises(StorageClosedError):
            await database.read(notes)
    async with opened(path) as database:
        assert len(await database.read(notes)) == 20


async def test_closing_while_others_wait_for_an_fsync_ends_after_them(on_disk, disk) -> None:
    gate = SyncGate(disk)
    with trio.fail_after(CLOSE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(on_disk.write, note("one"))
            await gate.reached.wait()
            nursery.start_soon(on_disk.write, note("two"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(on_disk.close)
            await trio.testing.wait_all_tasks_blocked()
            gate.open()
    assert on_disk.watermark.value == 2


async def test_closing_a_failed_disk_ends(on_disk, disk) -> None:
    disk.cut_after(0)
    with pytest.raises(StorageFailedError):
        await on_disk.write(note("lost"))
    with trio.fail_after(CLOSE_SECONDS):
        await on_disk.close()


async def test_the_log_is_copied_before_it_grows_large(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(writer_module, "CHECKPOINT_PAGES", 16)
    path = tmp_path / "notes.sqlite"
    log = tmp_path / "notes.sqlite-wal"
    async with opened(path) as database:
        for number in range(300):
            await database.write(note(f"{number}" * 1000))
        assert log.stat().st_size < 64 * 4120
    assert not log.exists()


async def test_a_reader_in_the_way_delays_the_log_but_stops_nobody(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(writer_module, "CHECKPOINT_PAGES", 8)
    monkeypatch.setattr(writer_module, "RESTART_TIMES", 2)
    monkeypatch.setattr(writer_module, "RESTART_WAIT_MS", 1)
    path = tmp_path / "notes.sqlite"
    log = tmp_path / "notes.sqlite-wal"
    async with opened(path) as database:
        await database.write(note("first"))
        reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        reader.execute("BEGIN")
        assert notes(reader) == ["first"]
        for number in range(100):
            await database.write(note(f"{number}"))
        assert notes(reader) == ["first"]
        grown = log.stat().st_size
        reader.execute("ROLLBACK")
        reader.close()
        for number in range(100):
            await database.write(note(f"{number}"))
        assert log.stat().st_size <= grown + 32 * 4120
        assert len(await database.read(notes)) == 201

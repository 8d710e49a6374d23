"""Opening, refusing, reading and backing up a database file."""

import os
import stat
import threading
from pathlib import Path

import apsw
import pytest
import trio
import trio.testing

from nexusd.store import Store
from nexusd.store.errors import StorageClosedError, StorageCorruptError, StorageError
from tests.harness.disk import flip_bit
from tests.unit.store.messages import LAB, message
from tests.unit.store.people import ALICE


async def filled(path: Path, rows: int = 50) -> None:
    async with Store.open(path) as store:
        await store.log.append_many([(ALICE, message(number)) for number in range(rows)], now=1)


async def refusal(path: Path) -> StorageError:
    with pytest.raises(StorageError) as caught:
        async with Store.open(path):
            pass
    return caught.value


async def test_a_new_file_is_private_and_closing_leaves_only_it(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    async with Store.open(path) as store:
        await store.settings.set("port", "4001")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        assert set(modes.values()) == {0o600}
        assert set(modes) == {
            f"{name}.sqlite{end}" for name in ("store", "store-blocks") for end in ("", "-wal", "-shm")
        }
    assert {file.name for file in tmp_path.iterdir()} == {"store.sqlite", "store-blocks.sqlite"}
    async with Store.open(path) as store:
        assert await store.settings.get("port") == "4001"


async def test_commits_are_synced_and_the_journal_is_a_log(store) -> None:
    def pragmas(connection: apsw.Connection):
        return connection.pragma("journal_mode"), connection.pragma("synchronous")

    assert await store.database.write(pragmas) == ("wal", 2)


async def test_two_readers_run_beside_a_writer_on_the_state_they_began_with(store) -> None:
    both = threading.Barrier(3)
    go_on = threading.Event()
    counts = []

    def slow(connection: apsw.Connection) -> None:
        before = connection.execute("SELECT count(*) FROM room_messages").get
        both.wait(30)
        assert go_on.wait(30)
        counts.append((before, connection.execute("SELECT count(*) FROM room_messages").get))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.database.read, slow)
        nursery.start_soon(store.database.read, slow)
        await trio.to_thread.run_sync(both.wait, 30)
        await store.log.append(ALICE, message(1), now=1)
        go_on.set()
    assert counts == [(0, 0), (0, 0)]
    assert await store.log.count(ALICE, LAB) == 1


async def test_a_reader_cannot_write(store) -> None:
    with pytest.raises(apsw.ReadOnlyError):
        await store.database.read(lambda connection: connection.execute("DELETE FROM settings"))


async def test_a_readers_error_is_its_callers_and_the_reader_is_used_again(store) -> None:
    for _ in range(4):
        with pytest.raises(ZeroDivisionError):
            await store.database.read(lambda connection: 1 // 0)
    assert await store.settings.get("port") is None


async def test_a_cancelled_read_gives_its_connection_back(store) -> None:
    for _ in range(4):
        with trio.move_on_after(0):
            await store.settings.get("port")
    assert await store.settings.get("port") is None


async def test_closing_waits_for_readers(tmp_path) -> None:
    started, go_on = threading.Event(), threading.Event()
    result = []

    def slow(connection: apsw.Connection) -> None:
        started.set()
        assert go_on.wait(30)
        result.append(connection.execute("SELECT count(*) FROM settings").get)

    async with trio.open_nursery() as nursery:  # noqa: SIM117 - the store closes while the task reads
        async with Store.open(tmp_path / "store.sqlite") as store:
            nursery.start_soon(store.database.read, slow)
            await trio.to_thread.run_sync(started.wait, 30)
            trio.lowlevel.current_trio_token().run_sync_soon(go_on.set)
    assert result == [0]
    with pytest.raises(StorageClosedError):
        await store.settings.get("port")


async def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_text("dear diary, " * 1000)
    assert isinstance(await refusal(path), StorageCorruptError)
    assert path.read_text().startswith("dear diary")


@pytest.mark.parametrize("sql", ["CREATE TABLE other (a)", "PRAGMA user_version = 3", "PRAGMA application_id = 7"])
async def test_another_programs_database_is_refused_and_kept(tmp_path, sql) -> None:
    path = tmp_path / "store.sqlite"
    other = apsw.Connection(str(path))
    other.execute(sql)
    other.close()
    before = path.read_bytes()
    error = await refusal(path)
    assert isinstance(error, StorageCorruptError)
    assert "another program" in str(error)
    assert path.read_bytes() == before


async def test_a_damaged_page_is_found_at_the_start(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    await filled(path)
    flip_bit(path, (4096 * 3 + 1) * 8)  # the header of a b-tree page
    assert isinstance(await refusal(path), StorageCorruptError)


async def test_an_empty_file_becomes_a_store(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    path.touch()
    await filled(path, 1)


async def test_a_place_that_cannot_be_opened_is_named(tmp_path) -> None:
    assert "absent" in str(await refusal(tmp_path / "absent" / "store.sqlite"))
    assert isinstance(await refusal(tmp_path), StorageError)


async def test_integrity_reads_the_whole_file(tmp_path, store) -> None:
    assert await store.database.integrity() == []


async def test_a_backup_is_whole_while_the_store_is_written(store, tmp_path) -> None:
    copy = tmp_path / "copy.sqlite"
    for number in range(100):
        await store.log.append(ALICE, message(number), now=1)

    async with trio.open_nursery() as nursery:
        for number in range(100, 400):
            nursery.start_soon(lambda number=number: store.log.append(ALICE, message(number), now=1))
        nursery.start_soon(store.backup, copy)
    assert {file.name for file in tmp_path.iterdir() if file.name.startswith("copy")} == {
        "copy.sqlite",
        "copy-blocks.sqlite",
    }
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    async with Store.open(copy) as restored:
        assert await restored.database.integrity() == []
        kept = await restored.log.count(ALICE, LAB)
        assert 100 <= kept <= 400
        assert await restored.events.newest() == kept


async def test_a_backup_replaces_nothing(store, tmp_path) -> None:
    copy = tmp_path / "copy.sqlite"
    copy.write_text("precious")
    with pytest.raises(FileExistsError):
        await store.backup(copy)
    assert copy.read_text() == "precious"


async def test_a_backup_that_fails_leaves_no_file(store, tmp_path) -> None:
    with pytest.raises(OSError, match="absent"):
        await store.backup(tmp_path / "absent" / "copy.sqlite")
    sealed = tmp_path / "sealed"
    sealed.mkdir(mode=0o500)
    if os.geteuid() != 0:
        with pytest.raises(OSError, match="sealed"):
            await store.backup(sealed / "copy.sqlite")
        assert list(sealed.iterdir()) == []


async def test_what_was_just_written_is_read_at_once_unless_both_readers_are_busy(store) -> None:
    database = store.database
    here = threading.get_ident()

    def where(connection: apsw.Connection) -> tuple[int, int]:
        return threading.get_ident(), connection.execute("SELECT count(*) FROM settings").get

    await store.settings.set("a", "1")
    assert await database.read_recent(where) == (here, 1)

    go = threading.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(database.read, lambda _: go.wait(10))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(trio.to_thread.run_sync, go.set)
        thread, count = await database.read_recent(where)
    assert (thread != here, count) == (True, 1)
    assert await database.read_recent(where) == (here, 1), "each reader was given back"

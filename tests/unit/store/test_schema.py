"""Versions: new, old, newer; what a migration that fails leaves."""

import shutil
from pathlib import Path

import apsw
import pytest

from nexusd.store import Store
from nexusd.store.database import Database
from nexusd.store.errors import NewerStoreError, StorageError
from nexusd.store.schema import APPLICATION_ID, Migration, shipped_migrations
from nexusd.store.watermark import Watermark
from tests.unit.store.people import ALICE
from tests.unit.store.released import FIXTURES, everything, populate

FIRST = Migration(1, "CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL) STRICT")
SECOND = Migration(2, "ALTER TABLE notes ADD COLUMN colour TEXT NOT NULL DEFAULT 'black'")
THIRD = Migration(3, "CREATE TABLE tags (id INTEGER PRIMARY KEY AUTOINCREMENT) STRICT; INSERT INTO nothing VALUES (1)")


def version(path: Path) -> tuple[int, int]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.pragma("application_id"), connection.pragma("user_version")
    finally:
        connection.close()


def opened(path: Path, *migrations: Migration):
    return Database.open(path, watermark=Watermark("notes"), migrations=migrations)


async def test_a_new_store_has_the_newest_version(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    async with Store.open(path):
        pass
    assert version(path) == (APPLICATION_ID, len(shipped_migrations()))
    async with Store.open(path):
        pass
    assert {file.name for file in tmp_path.iterdir()} == {"store.sqlite", "store-blocks.sqlite"}


@pytest.mark.parametrize("fixture", sorted(FIXTURES.glob("store-v*.sqlite")), ids=lambda path: path.stem)
async def test_a_store_of_each_released_version_reads_like_a_fresh_one(tmp_path, fixture) -> None:
    old = tmp_path / "old.sqlite"
    shutil.copyfile(fixture, old)
    async with Store.open(tmp_path / "fresh.sqlite") as fresh:
        await populate(fresh)
        expected = await everything(fresh)
    async with Store.open(old) as store:
        assert await store.database.integrity() == []
        assert await everything(store) == expected
        assert await store.inbox.fail_unfinished(ALICE, now=200) == 1


def test_there_is_a_fixture_of_every_version() -> None:
    expected = {f"store-v{migration.number}.sqlite" for migration in shipped_migrations()}
    assert {file.name for file in FIXTURES.glob("store-v*.sqlite")} == expected


async def test_tables_are_strict_and_columns_not_null(store) -> None:
    def loose(connection: apsw.Connection) -> list[str]:
        tables = connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'"
            " AND NOT strict"
        ).fetchall()
        columns = connection.execute(
            "SELECT t.name || '.' || c.name FROM pragma_table_list t, pragma_table_info(t.name) c"
            " WHERE t.schema = 'main' AND t.type = 'table'"
            " AND t.name NOT LIKE 'sqlite_%' AND NOT c.\"notnull\" AND NOT c.pk"
        ).fetchall()
        return [name for (name,) in [*tables, *columns]]

    assert await store.database.read(loose) == []


async def test_a_newer_store_is_refused_untouched(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    async with opened(path, FIRST, SECOND):
        pass
    before = path.read_bytes()
    with pytest.raises(NewerStoreError, match="has version 2, and this nexusd knows versions up to 1"):
        async with opened(path, FIRST):
            pass
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["store.sqlite"]


async def test_migrating_keeps_rows_and_a_copy_of_the_old_file(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    async with opened(path, FIRST) as database:
        await database.write(lambda connection: connection.execute("INSERT INTO notes (text) VALUES ('kept')"))
    async with opened(path, FIRST, SECOND) as database:
        rows = await database.read(lambda connection: connection.execute("SELECT text, colour FROM notes").fetchall())
        assert rows == [("kept", "black")]
    backup = tmp_path / "store.sqlite.v1.backup"
    assert version(path) == (APPLICATION_ID, 2)
    assert version(backup) == (APPLICATION_ID, 1)
    async with opened(backup, FIRST) as database:
        assert await database.read(lambda connection: connection.execute("SELECT text FROM notes").get) == "kept"


async def test_a_migration_that_fails_leaves_the_version_before_it_whole(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    async with opened(path, FIRST):
        pass
    with pytest.raises(StorageError, match="nothing"):
        async with opened(path, FIRST, SECOND, THIRD):
            pass
    assert version(path) == (APPLICATION_ID, 2)
    async with opened(path, FIRST, SECOND) as database:
        tables = await database.read(
            lambda connection: connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'tags'").get
        )
        assert tables == 0


def test_shipped_migrations_are_numbered_without_a_gap() -> None:
    assert [migration.number for migration in shipped_migrations()] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]

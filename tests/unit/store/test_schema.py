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
from nexusd_protocols.chatsync.index import Key
from nexusd_protocols.ids import CapabilityName, MessageId
from tests.unit.store.messages import HALL, LAB, invocation, message
from tests.unit.store.people import ALICE, BOB, CAROL, MALLORY

FIXTURES = Path(__file__).parents[2] / "fixtures"

FIRST = Migration(1, "CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL) STRICT")
SECOND = Migration(2, "ALTER TABLE notes ADD COLUMN colour TEXT NOT NULL DEFAULT 'black'")
THIRD = Migration(3, "CREATE TABLE tags (id INTEGER PRIMARY KEY AUTOINCREMENT) STRICT; INSERT INTO nothing VALUES (1)")


ALL = Key(0, b""), Key(1 << 60, b"")


async def populate(store: Store) -> None:
    """What each fixture `store-vN.sqlite` holds: made by running this on the program that had version N."""
    await store.settings.set_many({"port": "4001", "role": "full"})
    await store.settings.set("profile", '{"displayName":"alice"}', agent=ALICE)
    await store.rooms.join(ALICE, LAB, 100)
    await store.rooms.join(ALICE, HALL, 101)
    await store.log.append(ALICE, message(1, content="hello", references='["bafy"]', thread_id="t"), now=102)
    await store.log.append(ALICE, message(2, sender=CAROL, reply_to="m1"), now=103)
    await store.rooms.leave(ALICE, HALL, 104)
    await store.inbox.receive(ALICE, peer=BOB, message_id=MessageId("d1"), content="psst", format="text/plain", now=105)
    sent = await store.inbox.begin_send(
        ALICE, peer=BOB, message_id=MessageId("d2"), content="yes?", format="text/markdown", now=106
    )
    await store.inbox.finish_send(ALICE, sent, "stored", now=107)
    await store.inbox.begin_send(
        ALICE, peer=CAROL, message_id=MessageId("d3"), content="lost", format="text/plain", now=108
    )
    await store.peers.seen(BOB, addresses=["/ip4/192.0.2.1/tcp/4001"], source="mdns", now=109)
    await store.peers.identified(BOB, "nexusd/0.1.0", 110)
    await store.peers.named(BOB, "bob", 111)
    await store.peers.block(MALLORY, "spam", 112)
    await store.capabilities.put(ALICE, CapabilityName("upper"), '{"argv":["tr","a-z","A-Z"]}', 113)
    await store.invocations.record(ALICE, invocation(1))
    await store.invocations.record(ALICE, invocation(2, direction="out", outcome="timeout"))


async def everything(store: Store) -> dict[str, object]:
    return {
        "settings": [await store.settings.get(key) for key in ("port", "role", "absent")],
        "profile": await store.settings.get("profile", agent=ALICE),
        "rooms": await store.rooms.joined(ALICE),
        "history": await store.log.history(ALICE, LAB, limit=10),
        "found": await store.log.search(ALICE, LAB, "hello", limit=10),
        "known": await store.log.read_index(ALICE, LAB, lambda index: index.items(*ALL, 10)),
        "summary": await store.log.read_index(ALICE, LAB, lambda index: index.summary(*ALL)),
        "unsealed": await store.batches.dirty_hours(ALICE, LAB, 1 << 40, 10),
        "inbox": await store.inbox.list(ALICE, limit=10),
        "peers": await store.peers.list(10),
        "blocked": await store.peers.blocked(),
        "capabilities": await store.capabilities.list(ALICE),
        "invocations": await store.invocations.list(ALICE, limit=10),
        "usage": await store.invocations.summary(ALICE),
        "metering": await store.metering.sums(ALICE),
        "events": await store.events.read(after=0, limit=50),
        "newest": await store.events.newest(),
    }


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

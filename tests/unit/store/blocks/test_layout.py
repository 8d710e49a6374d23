"""The file of blocks: its versions, and that it is no other file."""

import shutil
from pathlib import Path

import apsw
import pytest

from nexusd.store import Store
from nexusd.store.blocks.layout import APPLICATION_ID, PAGE_BYTES, blocks_layout
from nexusd.store.blocks.pins import Pin
from nexusd.store.errors import NewerStoreError, StorageCorruptError
from nexusd.store.store import blocks_path
from tests.unit.store.blocks.content import node, raw
from tests.unit.store.people import ALICE, ALICES_SECOND

FIXTURES = Path(__file__).parents[3] / "fixtures"

LEAVES = [raw("small"), raw("large", 20_000)]
ROOT = node(*LEAVES, raw("absent"))


async def populate(store: Store) -> None:
    """What each fixture `blocks-vN.sqlite` holds: made by running this on the program that had version N."""
    await store.blocks.put([*LEAVES, ROOT], now=100)
    for number, owner in enumerate(("user", "room:lab", "cache", "directory")):
        pin = Pin(agent=ALICE, owner=owner, cid=ROOT.cid, retention="archival", name="a name", size=number)
        await store.blocks.pin(pin, now=101)
    temporary = Pin(agent=ALICES_SECOND, owner="user", cid=LEAVES[0].cid, retention="cache", expires_at=900)
    await store.blocks.pin(temporary, now=102)
    await store.blocks.unpin(ALICE, "cache", ROOT.cid)


async def everything(store: Store) -> dict[str, object]:
    usage = await store.blocks.usage()
    return {
        "blocks": [await store.blocks.get(block.cid) for block in (*LEAVES, ROOT)],
        "missing": await store.blocks.missing(ROOT.cid, 9),
        "damaged": await store.blocks.damaged(9),
        "pins": await store.blocks.pins(limit=99),
        "usage": (usage.blocks, usage.bytes, usage.by_class, usage.by_owner),
        "loose": await store.blocks.collect(now=1 << 50, dry_run=True),
    }


@pytest.mark.parametrize("fixture", sorted(FIXTURES.glob("blocks-v*.sqlite")), ids=lambda path: path.stem)
async def test_blocks_of_each_released_version_read_like_fresh_ones(tmp_path, fixture) -> None:
    old = tmp_path / "old.sqlite"
    shutil.copyfile(fixture, blocks_path(old))
    async with Store.open(tmp_path / "fresh.sqlite") as fresh:
        await populate(fresh)
        expected = await everything(fresh)
    async with Store.open(old) as store:
        assert await store.blocks.database.integrity() == []
        assert await everything(store) == expected


def test_there_is_a_fixture_of_every_version() -> None:
    expected = {f"blocks-v{migration.number}.sqlite" for migration in blocks_layout().migrations}
    assert {file.name for file in FIXTURES.glob("blocks-v*.sqlite")} == expected


async def test_the_file_is_made_as_it_must_stay(store) -> None:
    def pragmas(connection: apsw.Connection) -> list[object]:
        return [connection.pragma(name) for name in ("application_id", "page_size", "auto_vacuum", "synchronous")]

    assert await store.blocks.database.write(pragmas) == [APPLICATION_ID, PAGE_BYTES, 2, 2]


async def test_tables_are_strict_and_columns_not_null(store) -> None:
    def loose(connection: apsw.Connection) -> list[str]:
        tables = connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%' AND NOT strict"
        ).fetchall()
        columns = connection.execute(
            "SELECT t.name || '.' || c.name FROM pragma_table_list t, pragma_table_info(t.name) c"
            " WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite_%' AND NOT c.\"notnull\" AND NOT c.pk"
        ).fetchall()
        return [name for (name,) in [*tables, *columns]]

    assert await store.blocks.database.read(loose) == []


async def test_a_store_of_messages_is_no_file_of_blocks(tmp_path) -> None:
    async with Store.open(tmp_path / "one.sqlite"):
        pass
    shutil.copyfile(tmp_path / "one.sqlite", blocks_path(tmp_path / "two.sqlite"))
    with pytest.raises(StorageCorruptError, match="another program"):
        async with Store.open(tmp_path / "two.sqlite"):
            pass


async def test_newer_blocks_are_refused(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    async with Store.open(path):
        pass
    connection = apsw.Connection(str(blocks_path(path)))
    connection.pragma("user_version", len(blocks_layout().migrations) + 1)
    connection.close()
    with pytest.raises(NewerStoreError):
        async with Store.open(path):
            pass


@pytest.mark.parametrize("table", ["sqlite_sequence", "sqlite_schema"])
async def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path, table) -> None:
    path = tmp_path / "store.sqlite"
    async with Store.open(path) as store:
        await populate(store)
    connection = apsw.Connection(str(blocks_path(path)))
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).get or 1
    connection.close()
    with blocks_path(path).open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES + (100 if page == 1 else 0))
        file.write(b"\xff" * 64)
    with pytest.raises(StorageCorruptError, match="damaged"):
        async with Store.open(path):
            pass

"""The two databases of a store are one store."""

import pytest
import trio

from nexusd.store import Store
from nexusd.store.errors import StorageFailedError
from nexusd.store.store import blocks_path
from tests.unit.store.blocks.content import raw
from tests.unit.store.messages import message
from tests.unit.store.people import ALICE


@pytest.mark.parametrize("which", ["messages", "blocks"])
async def test_a_disk_that_failed_under_either_is_told(disk, tmp_path, which) -> None:
    async with Store.open(tmp_path / "store.sqlite", vfs=disk.name, exclusive=True) as store:
        assert not store.failed
        with trio.move_on_after(0.01) as early:
            await store.wait_failed()
        assert early.cancelled_caught
        disk.sync_fails = True
        posts = which == "messages"
        with pytest.raises(StorageFailedError):
            await (store.log.append(ALICE, message(1), now=1) if posts else store.blocks.put([raw("block")], now=1))
        assert isinstance(await store.wait_failed(), StorageFailedError)
        assert store.failed


async def test_a_backup_has_both(store, tmp_path) -> None:
    await store.log.append(ALICE, message(1), now=1)
    await store.blocks.put([raw("block")], now=1)
    await store.backup(tmp_path / "copy.sqlite")
    async with Store.open(tmp_path / "copy.sqlite") as copy:
        assert await copy.log.count(ALICE, message(1).room) == 1
        assert await copy.blocks.get(raw("block").cid) == raw("block")


async def test_a_backup_replaces_no_blocks(store, tmp_path) -> None:
    copy = tmp_path / "copy.sqlite"
    blocks_path(copy).write_text("precious")
    with pytest.raises(FileExistsError):
        await store.backup(copy)
    assert blocks_path(copy).read_text() == "precious"
    assert not copy.exists()

import pytest

from nexusd.store import Store
from nexusd.store.errors import StorageFailedError
from tests.unit.store.people import ALICE, ALICES_SECOND


async def test_a_value_is_kept_until_it_is_set_again(store) -> None:
    assert await store.settings.get("port") is None
    await store.settings.set("port", "4001")
    await store.settings.set("port", "4002")
    assert await store.settings.get("port") == "4002"


async def test_the_node_and_each_agent_have_their_own(store) -> None:
    await store.settings.set("name", "node")
    await store.settings.set("name", "alice", agent=ALICE)
    assert await store.settings.get("name") == "node"
    assert await store.settings.get("name", agent=ALICE) == "alice"
    assert await store.settings.get("name", agent=ALICES_SECOND) is None


async def test_many_are_set_together_or_not_at_all(disk, tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    async with Store.open(path, vfs=disk.name, exclusive=True) as store:
        await store.settings.set_many({"a": "1", "b": "1"})
        disk.cut_after(3)
        with pytest.raises(StorageFailedError):
            await store.settings.set_many({"a": "2" * 9000, "b": "2" * 9000})
    disk.settle()
    async with Store.open(path) as store:
        assert [await store.settings.get(key) for key in "ab"] == ["1", "1"]

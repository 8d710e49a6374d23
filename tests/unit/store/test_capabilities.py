from nexusd.store.capabilities import CapabilityRow
from nexusd_protocols.ids import CapabilityName
from tests.unit.store.people import ALICE, ALICES_SECOND

UPPER = CapabilityName("upper")
COUNT = CapabilityName("count")


async def test_capabilities_are_put_replaced_listed_and_removed(store) -> None:
    await store.capabilities.put(ALICE, UPPER, "{}", 1)
    await store.capabilities.put(ALICE, COUNT, "{}", 2)
    await store.capabilities.put(ALICE, UPPER, '{"jsonl":true}', 3)
    await store.capabilities.put(ALICES_SECOND, UPPER, "[]", 4)
    assert await store.capabilities.list(ALICE) == [
        CapabilityRow(COUNT, "{}", 2),
        CapabilityRow(UPPER, '{"jsonl":true}', 3),
    ]
    assert await store.capabilities.remove(ALICE, UPPER)
    assert not await store.capabilities.remove(ALICE, UPPER)
    assert [row.name for row in await store.capabilities.list(ALICE)] == [COUNT]
    assert [row.name for row in await store.capabilities.list(ALICES_SECOND)] == [UPPER]

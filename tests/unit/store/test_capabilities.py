import msgspec

from nexusd.store.capabilities import Capabilities, CapabilityRow
from nexusd.store.database import Database
from nexusd.store.schema import shipped_migrations
from nexusd.store.watermark import Watermark
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.rpc.schema import CapabilityServeParams
from tests.harness.stores import opened
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


async def test_what_had_one_price_has_a_list_of_it(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    command = '"command": {"argv": ["tr"], "cwd": "/"}'
    price = '{"amount": "0.10", "network": "base", "asset": "USDC", "payTo": "0xab", "tab": true, "cap": "1"}'
    async with Database.open(path, watermark=Watermark("events"), migrations=shipped_migrations()[:6]) as database:
        old = Capabilities(database)
        await old.put(ALICE, UPPER, f'{{"name": "upper", "price": {price}, {command}}}', 1)
        await old.put(ALICE, COUNT, f'{{"name": "count", "price": null, {command}}}', 1)
    async with opened(path) as store:
        count, upper = [
            msgspec.json.decode(row.spec, type=CapabilityServeParams) for row in await store.capabilities.list(ALICE)
        ]
    assert (count.prices, count.command) == ([], upper.command)
    [only] = upper.prices
    assert (only.amount, only.network, only.pay_to, only.tab, only.cap) == ("0.10", "base", "0xab", True, "1")

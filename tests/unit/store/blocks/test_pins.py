from dataclasses import replace

import pytest

from nexusd.store.blocks.pins import Pin
from nexusd.store.blocks.usage import Pinned
from nexusd_protocols.content.cid import DAG_PB, Cid
from tests.unit.store.blocks.content import raw
from tests.unit.store.people import ALICE, ALICES_SECOND


def pin(text: str, **fields) -> Pin:
    given = {"agent": ALICE, "owner": "user", "cid": raw(text).cid, "retention": "archival"}
    return Pin(**(given | fields))


async def test_a_pin_comes_back_as_it_was(store) -> None:
    made = pin("a", name="report.pdf", size=1 << 40, retention="mirrored", expires_at=99)
    await store.blocks.pin(made, now=5)
    (found,) = (await store.blocks.pins(limit=9)).rows
    assert found == replace(made, created_at=5, position=1)
    assert await store.blocks.pins_of(made.cid, 9) == [found]
    assert await store.blocks.pins_of(raw("b").cid, 9) == []


async def test_a_pin_of_the_same_owner_and_cid_is_replaced(store) -> None:
    await store.blocks.pin(pin("a", expires_at=10), now=5)
    await store.blocks.pin(pin("a", expires_at=20, retention="cache", name="n", size=7), now=6)
    (found,) = (await store.blocks.pins(limit=9)).rows
    assert found == pin("a", expires_at=20, retention="cache", name="n", size=7, created_at=5, position=1)


async def test_pins_of_others_are_other_pins(store) -> None:
    pins = [
        pin("a"),
        pin("a", owner="room:lab"),
        pin("a", agent=ALICES_SECOND),
        pin("a", cid=Cid(DAG_PB, raw("a").cid.digest)),
        pin("a", cid=Cid(DAG_PB, raw("a").cid.digest, 0)),
        pin("b"),
    ]
    for each in pins:
        await store.blocks.pin(each, now=5)
    assert len((await store.blocks.pins(limit=9)).rows) == 6
    assert [found.cid for found in (await store.blocks.pins(ALICE, "room:lab", limit=9)).rows] == [raw("a").cid]
    assert len((await store.blocks.pins(ALICES_SECOND, limit=9)).rows) == 1
    assert len(await store.blocks.pins_of(raw("a").cid, 9)) == 5
    assert await store.blocks.unpin(ALICE, "room:lab", raw("a").cid)
    assert not await store.blocks.unpin(ALICE, "room:lab", raw("a").cid)
    assert len((await store.blocks.pins(limit=9)).rows) == 5
    with pytest.raises(ValueError, match="agent"):
        await store.blocks.pins(owner="user", limit=9)


async def test_pins_are_paged(store) -> None:
    for number in range(5):
        await store.blocks.pin(pin(f"{number}", name=f"{number}"), now=5)
    first = await store.blocks.pins(limit=3)
    assert [each.name for each in first.rows] == ["0", "1", "2"]
    assert first.more
    rest = await store.blocks.pins(ALICE, after=first.rows[-1].position, limit=3)
    assert [each.name for each in rest.rows] == ["3", "4"]
    assert not rest.more


async def test_usage_sums_what_pins_say(store) -> None:
    await store.blocks.pin(pin("a", size=10), now=5)
    await store.blocks.pin(pin("b", size=20, owner="room:lab", retention="cache"), now=5)
    await store.blocks.pin(pin("c", size=30, owner="room:lab"), now=5)
    usage = await store.blocks.usage()
    assert usage.by_class == {"archival": Pinned(2, 40), "cache": Pinned(1, 20)}
    assert usage.by_owner == {"user": Pinned(1, 10), "room:lab": Pinned(2, 50)}

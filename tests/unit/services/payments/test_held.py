"""Output that waits in memory: how much of it there may be."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from nexusd.services.payments.held import Held
from nexusd.services.payments.sale import Sale
from nexusd.services.payments.trust import Trust
from nexusd_protocols.payments.charge import State
from tests.harness.people import ALICE, BOB, CAROL
from tests.unit.services.payments.market import Call, Market, market, shop_of


def test_one_peer_and_all_have_a_bound() -> None:
    held = Held(total=100, of_peer=60)
    alice, other, bob = held.of(ALICE.peer_id), held.of(ALICE.peer_id), held.of(BOB.peer_id)
    alice.set(30)
    other.set(29)
    assert not alice.full
    other.set(30)
    assert (alice.full, other.full, bob.full) == (True, True, False)
    bob.set(40)
    assert (bob.full, held.full(CAROL.peer_id)) == (True, True)
    alice.set(0)
    assert (other.full, bob.full) == (False, False)
    other.set(0)
    bob.set(0)
    assert not held.full(ALICE.peer_id)


async def test_what_waits_for_its_settlement_leaves_room_for_others_and_ends_as_busy_where_there_is_none(
    tmp_path: Path,
) -> None:
    async with market(tmp_path) as shop:
        shop.trust = Trust(accept_unbound=True)
        shop.held = Held(total=1000, of_peer=50)

        async def say_much(call: Call) -> None:
            await call.say("x" * 100)

        first, second = Call(shop, say_much), Call(shop, say_much)
        one, two = shop.opened("r1"), shop.opened("r2")
        async with trio.open_nursery() as nursery:

            async def wait(_: Sale) -> None:
                while (row := await shop.row()) is None or row.state is not State.DUE:
                    await trio.sleep(0.01)
                closing = await shop.sell(second, two, shop.pay(two))
                assert (closing.outcome, second.came, closing.amount) == ("BUSY", [], 0)
                assert (await _states(shop)) == [State.DUE, State.RELEASED]
                await shop.store.ledger.settled(row.entry.key, "0x" + "ab" * 32, 7, shop.now)
                shop.chains.moved.set()

            nursery.start_soon(_sell, shop, first, one, wait)
        assert first.came == ["x" * 100]
        # and there is room again
        assert not shop_of(shop).held.full(ALICE.peer_id)


async def _sell(shop: Market, call: Call, opened, during) -> None:
    assert (await shop.sell(call, opened, shop.pay(opened), during=during)).outcome == "ok"


async def _states(shop: Market) -> list[State]:
    page = await shop.store.ledger.list(shop_of(shop).agent.id, limit=9)
    return [row.state for row in page.rows]


async def test_a_stream_that_nobody_reads_waits(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        shop.held = Held(total=1000, of_peer=50)
        made: list[int] = []
        taken = trio.Event()

        class Slow(Call):
            async def hand_over(self, event: str, data: object) -> None:
                await taken.wait()
                await super().hand_over(event, data)

        async def say_many(call: Call) -> None:
            for number in range(10):
                await call.say("x" * 60)
                made.append(number)

        call, opened = Slow(shop, say_many), shop.opened(stream=True)

        async def look(_: Sale) -> None:
            await trio.testing.wait_all_tasks_blocked(0.2)
            assert len(made) < 3
            taken.set()

        closing = await shop.sell(call, opened, shop.pay(opened), during=look)
        assert (closing.outcome, len(call.came)) == ("ok", 10)

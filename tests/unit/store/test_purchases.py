"""What agents here pay, on disk: budgets that hold, signatures that are kept, a switch that stops it all."""

from dataclasses import replace

import pytest
import trio

from nexusd.store.ledger import purchases as purchases_module
from nexusd.store.ledger.purchases import Intended, NeedsApproval, NotWaiting, Resumed
from nexusd_protocols import limits
from nexusd_protocols.payments.policy import STOPPED, Refuse, Spent
from nexusd_protocols.payments.purchase import DAY_MS, HOUR_MS, MINUTE_MS, PurchaseState, PurchaseStateError
from tests.harness.stores import opened
from tests.unit.protocols.payments.charges import NOW, PAYEE, UNTIL
from tests.unit.store.payments import ask, intent, pay, signed, spent_by, within
from tests.unit.store.people import ALICE, ALICES_SECOND


async def sign(store, number=1, **fields):
    one = intent(number, **fields)
    assert isinstance(await store.purchases.intend(one, pay, now=NOW), Intended)
    return await store.purchases.signed(one.id, signed(one), NOW)


async def test_of_a_hundred_at_once_no_more_go_than_the_budget_allows(store) -> None:
    answers = []

    async def one(number: int) -> None:
        answers.append(await store.purchases.intend(intent(number), within(1050, 100), now=NOW))

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(one, number)
    assert sum(isinstance(answer, Intended) for answer in answers) == 10
    assert answers.count(Refuse("over_limit_of_day")) == 90
    assert (await store.purchases.spent_view(ALICE, NOW)).day == 1000
    assert len((await store.purchases.list(ALICE, limit=50)).rows) == 10, "what is refused leaves nothing behind"


async def test_of_a_hundred_with_one_id_one_is_new(store) -> None:
    answers = []

    async def one() -> None:
        answers.append(await store.purchases.intend(intent(), pay, now=NOW))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(one)
    kinds = [type(answer) for answer in answers]
    assert (kinds.count(Intended), kinds.count(Resumed)) == (1, 99)
    with pytest.raises(PurchaseStateError, match="id"):
        await store.purchases.intend(intent(amount=5), pay, now=NOW)


async def test_what_was_signed_is_shown_again_and_not_signed_anew(store) -> None:
    row = await sign(store)
    assert row.signed == signed(intent())
    assert await store.purchases.intend(intent(), pay, now=NOW + 5) == Resumed(row)
    assert await store.purchases.get("purchase-1") == row
    assert await store.purchases.get("purchase-2") is None


async def test_a_receipt_is_kept(store) -> None:
    await sign(store)
    row = await store.purchases.spent("purchase-1", receipt=b"receipt", response=b"{}", now=NOW + 1)
    assert (row.state, row.receipt, row.response) == (PurchaseState.SPENT, b"receipt", b"{}")
    assert (await store.purchases.list(ALICE, limit=9)).rows == [row]


async def test_spending_is_seen_by_the_hour_the_day_the_payee_and_the_minute(store) -> None:
    times = {1: NOW - DAY_MS, 2: NOW - HOUR_MS, 3: NOW - MINUTE_MS, 4: NOW}
    for number, at in times.items():
        await store.purchases.intend(intent(number, cost=10**number), pay, now=at)
    await store.purchases.intend(intent(5, cost=7, pay_to=b"\x07" * 20), pay, now=NOW)
    await store.purchases.intend(intent(6, agent=ALICES_SECOND), pay, now=NOW)
    spent = await spent_by(store, ALICE, NOW, PAYEE)
    assert spent == Spent(hour=11007, day=11107, payee_day=11100, minute_count=2, payee_known=False)
    assert await store.purchases.spent_view(ALICE, NOW + 2 * DAY_MS) == Spent(payee_known=False)


async def test_a_payee_is_known_once_it_was_paid(store) -> None:
    await sign(store)
    assert not (await spent_by(store, ALICE, NOW, PAYEE)).payee_known
    await store.purchases.spent("purchase-1", now=NOW)
    assert (await spent_by(store, ALICE, NOW, PAYEE)).payee_known
    assert not (await spent_by(store, ALICES_SECOND, NOW, PAYEE)).payee_known


async def test_what_is_signed_counts_until_its_window_has_closed(store) -> None:
    await sign(store)
    await store.purchases.closed("purchase-1", "failed", NOW)
    closes = UNTIL * 1000 + limits.PAYMENT_CLOCK_MS
    assert (await store.purchases.spent_view(ALICE, closes - 1)).day == 100
    assert (await store.purchases.spent_view(ALICE, closes)).day == 0
    await sign(store, 2)
    await store.purchases.closed("purchase-2", "cancelled", NOW, unused=True)
    assert (await store.purchases.spent_view(ALICE, NOW)).day == 100


async def test_what_comes_back_without_the_chain_s_word_is_told_apart(store) -> None:
    for number, pay_to in ((1, PAYEE), (2, PAYEE), (3, b"\x07" * 20)):
        await store.purchases.intend(intent(number, pay_to=pay_to), pay, now=NOW)
        await store.purchases.signed(f"purchase-{number}", signed(intent(number, pay_to=pay_to)), NOW)
        await store.purchases.closed(f"purchase-{number}", "failed", NOW)
    await store.purchases.intend(intent(4), pay, now=NOW)
    await store.purchases.closed("purchase-4", "rejected", NOW)
    closes = UNTIL * 1000 + limits.PAYMENT_CLOCK_MS
    before = await spent_by(store, ALICE, closes - 1, PAYEE)
    assert (before.day, before.day_returned) == (300, 0)
    await store.purchases.closed("purchase-2", "unused", NOW, unused=True)
    after = await spent_by(store, ALICE, closes, PAYEE)
    assert (after.hour, after.day, after.payee_day) == (0, 0, 0)
    assert (after.hour_returned, after.day_returned, after.payee_returned) == (200, 200, 100)
    assert (await store.purchases.spent_view(ALICE, NOW + DAY_MS)).day_returned == 0


async def test_what_only_the_provider_says_is_looked_at_again(store) -> None:
    usdc = intent().asset
    for number in (1, 2, 3):
        await sign(store, number)
    await store.purchases.closed("purchase-1", "failed", NOW)
    await store.purchases.closed("purchase-2", "unused", NOW, unused=True)
    assert await store.purchases.doubted(UNTIL * 1000, 9, asset=usdc) == []
    (row,) = await store.purchases.doubted(UNTIL * 1000 + 1000, 9, asset=usdc)
    assert row.intent.id == "purchase-1"
    assert await store.purchases.doubted(UNTIL * 1000 + 1000, 9, asset="eip155:1/00") == []
    await store.purchases.spent("purchase-1", response=b"{}", now=NOW, amount=60)
    assert await store.purchases.doubted(UNTIL * 1000 + 1000, 9, asset=usdc) == []
    assert (await store.purchases.spent_view(ALICE, NOW)).day == 160


async def test_a_tab_gives_back_what_was_not_signed(store) -> None:
    one = intent(tab=True)
    await store.purchases.intend(one, pay, now=NOW)
    for amount in (10, 25):
        await store.purchases.signed(one.id, signed(one, amount=amount), NOW)
        assert (await store.purchases.spent_view(ALICE, NOW)).day == 100
    row = await store.purchases.spent(one.id, receipt=b"r", now=NOW)
    assert row == await store.purchases.get(one.id)
    assert (await store.purchases.spent_view(ALICE, NOW)).day == 25


async def test_tabs_of_a_call_come_from_one_budget_and_are_all_kept(store) -> None:
    one = intent(tab=True)
    await store.purchases.intend(one, pay, now=NOW)
    await store.purchases.signed(one.id, signed(one, amount=30), NOW)
    await store.purchases.signed(one.id, signed(one, amount=40), NOW)
    # what others have spent is judged again, and not what this call has taken
    judged = []

    def judge(spent: Spent):
        judged.append(spent.day)
        return pay(spent)

    second = signed(one, amount=20, tab=1, until=UNTIL + 9)
    row = await store.purchases.rolled(one.id, second, judge, NOW + 1)
    assert judged == [0]
    assert (row.total, row.tabs, row.before) == (60, 1, 40)
    assert row == await store.purchases.get(one.id)
    grown = signed(one, amount=35, tab=1, until=UNTIL + 9)
    await store.purchases.signed(one.id, grown, NOW + 2)
    third = signed(one, amount=25, tab=2, until=UNTIL + 9)
    row = await store.purchases.rolled(one.id, third, pay, NOW + 3)
    kept = await store.purchases.tabs(row)
    assert kept == [replace(signed(one, amount=40), payload=b""), replace(grown, payload=b""), third]
    with pytest.raises(PurchaseStateError, match="may cost"):
        await store.purchases.rolled(one.id, signed(one, amount=1, tab=3), pay, NOW)
    with pytest.raises(PurchaseStateError, match="intended"):
        await store.purchases.signed(one.id, signed(one, amount=26, tab=2, until=UNTIL + 9), NOW)
    assert (await store.purchases.spent_view(ALICE, NOW)).day == 100
    spent = await store.purchases.spent(one.id, receipt=b"r", now=NOW)
    assert (spent.cost, (await store.purchases.spent_view(ALICE, NOW)).day) == (100, 100)


async def test_no_tab_follows_where_the_policy_or_the_switch_is_against_it(store) -> None:
    one = intent(tab=True)
    await store.purchases.intend(one, pay, now=NOW)
    await store.purchases.signed(one.id, signed(one, amount=30), NOW)
    second = signed(one, amount=20, tab=1)
    assert await store.purchases.rolled(one.id, second, within(99, 100), NOW) == Refuse("over_limit_of_day")
    await store.purchases.stop(True)
    assert await store.purchases.rolled(one.id, second, pay, NOW) == Refuse(STOPPED)
    row = await store.purchases.get(one.id)
    assert (row.total, row.tabs, await store.purchases.tabs(row)) == (30, 0, [signed(one, amount=30)])
    await store.purchases.stop(False)
    closed = await store.purchases.closed(one.id, "failed", NOW)
    assert closed.cost == 30
    with pytest.raises(PurchaseStateError, match="closed"):
        await store.purchases.rolled(one.id, second, pay, NOW)


async def test_no_sum_of_what_is_spent_is_too_large(store) -> None:
    for number in range(4):
        await sign(store, number, cost=(1 << 62) - 1)
    spent = await spent_by(store, ALICE, NOW, PAYEE)
    assert {spent.hour, spent.day, spent.payee_day} == {(1 << 63) - 1}


async def test_a_person_decides_while_the_budget_is_held(store) -> None:
    asked = [await store.purchases.intend(intent(number), ask, now=NOW) for number in (1, 2)]
    assert [type(answer) for answer in asked] == [NeedsApproval, NeedsApproval]
    assert [row.intent.id for row in await store.purchases.approvals(ALICE, 9)] == ["purchase-1", "purchase-2"]
    assert (await store.purchases.spent_view(ALICE, NOW)).day == 200
    assert (await store.purchases.decide("purchase-1", True, NOW)).state is PurchaseState.INTENDED
    rejected = await store.purchases.decide("purchase-2", False, NOW)
    assert rejected.outcome == "rejected"
    assert await store.purchases.decide("purchase-2", True, NOW) == NotWaiting(rejected)
    assert (await store.purchases.spent_view(ALICE, NOW)).day == 100
    assert await store.purchases.approvals(ALICE, 9) == []
    with pytest.raises(LookupError):
        await store.purchases.decide("purchase-9", True, NOW)


async def test_the_switch_stops_everything_that_leads_to_a_signature(store) -> None:
    await store.purchases.intend(intent(1), pay, now=NOW)
    await store.purchases.intend(intent(2), ask, now=NOW)
    await sign(store, 3)
    await store.purchases.stop(True)
    assert await store.purchases.stopped()
    assert await store.purchases.intend(intent(4), pay, now=NOW) == Refuse(STOPPED)
    assert await store.purchases.signed("purchase-1", signed(intent(1)), NOW) == Refuse(STOPPED)
    assert await store.purchases.decide("purchase-2", True, NOW) == Refuse(STOPPED)
    assert (await store.purchases.decide("purchase-2", False, NOW)).state is PurchaseState.CLOSED
    assert (await store.purchases.spent("purchase-3", now=NOW)).state is PurchaseState.SPENT
    await store.purchases.stop(False)
    assert (await store.purchases.signed("purchase-1", signed(intent(1)), NOW)).state is PurchaseState.SIGNED


async def test_a_restart_frees_what_was_not_signed_and_keeps_what_was(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(purchases_module, "AT_ONCE", 1)
    async with opened(tmp_path / "again.sqlite") as store:
        await store.purchases.intend(intent(1), pay, now=NOW)
        await store.purchases.intend(intent(2), ask, now=NOW)
        row = await sign(store, 3)
        await store.purchases.stop(True)
    async with opened(tmp_path / "again.sqlite") as store:
        assert await store.purchases.recover(NOW) == 2
        assert await store.purchases.recover(NOW) == 0
        assert await store.purchases.stopped()
        assert await store.purchases.intend(intent(3), pay, now=NOW) == Resumed(row)
        assert (await store.purchases.spent_view(ALICE, NOW)).day == 100


async def test_what_nobody_said_anything_of_is_asked_for_when_its_window_has_closed(store) -> None:
    row = await sign(store)
    await sign(store, 2)
    await store.purchases.spent("purchase-2", now=NOW)
    assert await store.purchases.overdue(UNTIL * 1000, 9) == []
    assert await store.purchases.overdue(UNTIL * 1000 + 1000, 9) == [row]
    assert (await store.purchases.spent_view(ALICE, NOW + DAY_MS - 1)).day == 200


async def test_purchases_are_paged(store) -> None:
    for number in range(4):
        await store.purchases.intend(intent(number, note="n" * number), pay, now=NOW)
    page = await store.purchases.list(ALICE, limit=2)
    assert ([row.intent.note for row in page.rows], page.more) == (["nn", "nnn"], True)
    page = await store.purchases.list(ALICE, after=0, limit=9)
    assert [row.intent for row in page.rows] == [intent(number, note="n" * number) for number in range(4)]
    assert page.rows[0] == replace(page.rows[0], position=1)


async def test_a_page_of_receipts_is_as_long_as_it_may_be(store) -> None:
    for number in (1, 2, 3):
        await sign(store, number)
        await store.purchases.spent(f"purchase-{number}", receipt=b"receipt", now=NOW)
    for number in (4, 5):
        await store.purchases.intend(intent(number), pay, now=NOW)
    page = await store.purchases.list(ALICE, limit=2, receipts=True)
    assert ([row.intent.id for row in page.rows], page.more) == (["purchase-2", "purchase-3"], True)
    page = await store.purchases.list(ALICE, limit=2, before=page.rows[0].position, receipts=True)
    assert ([row.intent.id for row in page.rows], page.more) == (["purchase-1"], False)

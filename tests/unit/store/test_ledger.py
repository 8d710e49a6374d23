"""Charges on disk: each authorisation once, sums that hold, and what a restart finds."""

from dataclasses import replace

import pytest
import trio

from nexusd.store.ledger import ledger as ledger_module
from nexusd.store.ledger.charge_rows import Sums
from nexusd.store.ledger.ledger import Recovered, Total
from nexusd_protocols import limits
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.charge import (
    UNASKED,
    Charge,
    ChargeStateError,
    Delivered,
    Exposure,
    Known,
    Refused,
    Reserved,
    Result,
    State,
    resumable,
)
from nexusd_protocols.payments.transaction import Transaction
from tests.harness.soundness import faults as unsound
from tests.harness.stores import opened
from tests.unit.protocols.payments.charges import ALICE, ASSET, INPUT, MALLORY, NOW, UNTIL, WIDE, entry, payer, result
from tests.unit.store.payments import sums

USDC = f"eip155:8453/{ASSET.hex()}"


async def reserve(store, one=None, *, now=NOW, balance=None, exposure=WIDE):
    return await store.ledger.reserve(one or entry(), now=now, balance=balance, exposure=exposure)


async def due(store, number=1, *, whole=True, **fields):
    one = entry(number, **fields)
    assert isinstance(await reserve(store, one), Reserved)
    given = (result(), b"receipt") if whole else (None, b"")
    return await store.ledger.due(one.key, amount=one.amount, result=given[0], receipt=given[1], now=NOW, input_=INPUT)


def transaction(number=1, *, network="eip155:8453", nonce=None):
    return Transaction(
        network=network,
        account="ab" * 20,
        account_nonce=number if nonce is None else nonce,
        hash=f"0x{number:064x}",
        raw=bytes([number]) * 99,
    )


@pytest.fixture(autouse=True)
async def _sound(store):
    yield
    assert await unsound(store) == []


# --- once -------------------------------------------------------------------------------------------------------------
async def test_of_a_hundred_at_once_one_reserves(store) -> None:
    answers = []

    async def one() -> None:
        answers.append(await reserve(store))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(one)
    kinds = [type(answer) for answer in answers]
    assert (kinds.count(Reserved), kinds.count(Known)) == (1, 99)
    assert {answer.charge.position for answer in answers} == {1}
    assert await sums(store, USDC) == Sums(owed=100, owing=1)


async def test_of_a_hundred_calls_with_one_authorisation_one_reserves(store) -> None:
    answers = []

    async def one(number: int) -> None:
        answers.append(await reserve(store, replace(entry(), request=bytes([number]))))

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(one, number)
    refused = [answer for answer in answers if answer == Refused(faults.USED, "it was shown for another call")]
    assert len(refused) == 99


async def test_no_more_is_reserved_than_the_balance_covers(store) -> None:
    answers = []

    async def one(number: int) -> None:
        answers.append(await reserve(store, entry(number), balance=1050))

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(one, number)
    assert sum(isinstance(answer, Reserved) for answer in answers) == 10
    assert {answer.code for answer in answers if isinstance(answer, Refused)} == {faults.INSUFFICIENT_FUNDS}
    assert await sums(store, USDC, payer(7)) == Sums(owed=1000, owing=10)


async def test_exposure_is_by_payer_and_in_all(store) -> None:
    few = Exposure(payer=200, total=300)
    for number in (1, 2):
        assert isinstance(await reserve(store, entry(number), exposure=few), Reserved)
    assert (await reserve(store, entry(3), exposure=few)).code == faults.EXPOSURE
    assert isinstance(await reserve(store, entry(4, payer_number=8, peer=MALLORY), exposure=few), Reserved)
    assert (await reserve(store, entry(5, payer_number=9), exposure=few)).code == faults.EXPOSURE
    await store.ledger.release(entry(1).key, "failed", NOW)
    assert isinstance(await reserve(store, entry(5, payer_number=9), exposure=few), Reserved)
    one = replace(WIDE, charges=2)
    assert isinstance(await reserve(store, entry(6, payer_number=8, peer=MALLORY), exposure=one), Reserved)
    assert (await reserve(store, entry(8, payer_number=8, peer=MALLORY), exposure=one)).code == faults.BUSY


async def test_a_peer_owes_no_more_by_having_many_accounts(store) -> None:
    exposure = Exposure(payer=250, total=10_000, charges=5)

    async def show(number: int, **fields: object) -> object:
        return await reserve(store, entry(number, payer_number=number, **fields), balance=100, exposure=exposure)

    assert [isinstance(await show(number), Reserved) for number in (1, 2)] == [True, True]
    assert await show(3) == Refused(faults.EXPOSURE, "by this payer", passes=True)
    assert isinstance(await show(4, amount=50), Reserved)
    # others are not held up by it
    assert isinstance(await show(5, peer=MALLORY), Reserved)
    await store.ledger.release(entry(1, payer_number=1).key, "failed", NOW)
    assert isinstance(await show(3), Reserved)
    for number in range(6, 9):
        await show(number, amount=0)
    assert await show(9, amount=0) == Refused(faults.BUSY, passes=True)


async def test_amounts_have_256_bits(store) -> None:
    huge = (1 << 255) - 1
    vast = Exposure(payer=huge * 3, total=huge * 3)
    for number in (1, 2):
        assert isinstance(await reserve(store, entry(number, amount=huge), balance=huge * 2, exposure=vast), Reserved)
    assert (await reserve(store, entry(3, amount=1), balance=huge * 2, exposure=vast)).code == faults.INSUFFICIENT_FUNDS
    assert (await sums(store, USDC)).owed == huge * 2
    assert (await store.ledger.row(entry(1).key)).entry.amount == huge


async def test_what_is_no_key_or_no_time_is_refused(store) -> None:
    with pytest.raises(ValueError, match="ledger key"):
        await reserve(store, entry(key="eip155:1/a/b/c"))
    with pytest.raises(ValueError, match="times"):
        await reserve(store, entry(until=1 << 63))


# --- the charge point -------------------------------------------------------------------------------------------------
async def test_a_charge_comes_back_as_it_was(store) -> None:
    charge = await due(store)
    assert charge == Charge(
        entry=entry(),
        state=State.DUE,
        working=False,
        delivered=Delivered.ALL,
        result=result(),
        receipt=b"receipt",
        created_at=NOW,
        changed_at=NOW,
        position=1,
    )
    assert await store.ledger.row(charge.entry.key) == charge
    assert await reserve(store, entry()) == Known(charge)
    assert await store.ledger.row(entry(2).key) is None


async def test_a_larger_result_is_kept_by_what_names_it(store) -> None:
    await reserve(store)
    large = bytes(limits.PAYMENT_RESULT_BYTES + 1)
    given = Result(digest=b"d" * 32, size=len(large), data=large)
    await store.ledger.due(entry().key, amount=100, result=given, receipt=b"receipt", now=NOW)
    row = await store.ledger.row(entry().key)
    assert (row.result, row.receipt) == (replace(given, data=None), b"receipt")


async def test_due_again_changes_nothing(store) -> None:
    charge = await due(store)
    other = Result(digest=b"o" * 32, size=5, data=b"other")
    again = await store.ledger.due(entry().key, amount=100, result=other, receipt=b"other", now=NOW + 5)
    assert again.receipt == b"receipt"
    assert await store.ledger.row(entry().key) == charge


async def test_a_stream_that_broke_off_is_worked_on_again_once(store) -> None:
    await due(store, whole=False)
    assert isinstance(await reserve(store), Known)
    await store.ledger.interrupt(entry().key, now=NOW)
    answers = [await reserve(store, balance=0) for _ in range(3)]
    assert [type(answer) for answer in answers] == [Reserved, Known, Known]
    assert (answers[0].charge.state, answers[0].charge.attempts) == (State.DUE, 2)
    await store.ledger.finish(entry().key, result=result(), receipt=b"receipt", now=NOW)
    assert (await store.ledger.row(entry().key)).result == result()
    assert await sums(store, USDC) == Sums(owed=100, owing=1)


async def test_a_released_authorisation_may_be_signed_and_shown_again(store) -> None:
    await reserve(store)
    await store.ledger.release(entry().key, "failed", NOW)
    assert await sums(store, USDC) == Sums()
    answer = await reserve(store)
    assert (answer.charge.attempts, answer.charge.position) == (2, 1)


async def test_steps_that_are_not_allowed_change_nothing(store) -> None:
    charge = await due(store)
    with pytest.raises(ChargeStateError):
        await store.ledger.release(entry().key, "failed", NOW)
    with pytest.raises(LookupError):
        await store.ledger.release(entry(2).key, "failed", NOW)
    assert await store.ledger.row(entry().key) == charge


# --- tabs -------------------------------------------------------------------------------------------------------------
async def test_a_tab_grows_under_its_key_within_balance_and_exposure(store) -> None:
    tab = entry(tab=True, amount=10)
    await reserve(store, tab)
    await reserve(store, entry(2))
    assert isinstance(await store.ledger.grow(tab.key, 50, b"s", NOW, balance=150, exposure=WIDE), Charge)
    assert (
        await store.ledger.grow(tab.key, 51, b"s", NOW, balance=150, exposure=WIDE)
    ).code == faults.INSUFFICIENT_FUNDS
    lower = await store.ledger.grow(tab.key, 20, b"old", NOW, balance=None, exposure=WIDE)
    assert (lower.entry.amount, lower.entry.signature) == (50, b"s")
    assert await sums(store, USDC) == Sums(owed=150, owing=2)
    await store.ledger.due(tab.key, amount=50, now=NOW)
    grown = await store.ledger.grow(tab.key, 60, b"t", NOW, balance=None, exposure=WIDE)
    assert await store.ledger.row(tab.key) == grown
    assert [row.entry.authorization.value for row in await store.ledger.next_due(UNTIL * 1000 - 1, 9)] == [60]


async def test_at_its_end_a_tab_is_charged_for_less(store) -> None:
    await due(store, whole=False, tab=True, amount=40)
    key = entry(tab=True).key
    less = await store.ledger.lower(key, 15, b"l", NOW)
    assert await store.ledger.row(key) == less
    assert (less.entry.amount, less.entry.signature) == (15, b"l")
    assert await sums(store, USDC) == Sums(owed=15, owing=1)
    await store.ledger.interrupt(key, now=NOW)
    assert (await store.ledger.lower(key, 10, b"m", NOW)).entry.amount == 15, "it is shut"


async def test_a_tab_that_followed_and_was_not_used_is_not_charged(store) -> None:
    first = entry(tab=True, amount=40)
    await due(store, whole=False, tab=True, amount=40)
    second = replace(entry(2, tab=True, amount=20, request=first.request), number=1)
    await store.ledger.roll(first.key, second, now=NOW, balance=100, exposure=WIDE)
    await store.ledger.finish(first.key, result=result(), receipt=b"r", now=NOW, last=second.key, unused=True)
    assert (await store.ledger.row(second.key)).state is State.RELEASED
    assert await sums(store, USDC) == Sums(owed=40, owing=1)
    assert [row.entry.key for row in await store.ledger.next_due(NOW, 9)] == [first.key]


async def test_an_open_tab_is_settled_only_when_its_end_is_near(store) -> None:
    await due(store, whole=False, tab=True)
    key = entry(tab=True).key
    assert await store.ledger.next_due(NOW, 9) == []
    assert len(await store.ledger.next_due((UNTIL - limits.PAYMENT_SETTLING_S) * 1000, 9)) == 1
    await store.ledger.interrupt(key, now=NOW)
    assert len(await store.ledger.next_due(NOW, 9)) == 1
    assert (await store.ledger.grow(key, 200, b"", NOW, balance=None, exposure=WIDE)).code == faults.TAB_FAULT


async def test_a_tab_follows_another_in_one_transaction(store) -> None:
    first = entry(tab=True, amount=40)
    await due(store, whole=False, tab=True, amount=40)
    second = replace(entry(2, tab=True, amount=20, request=first.request), number=1)
    rolled = await store.ledger.roll(first.key, second, now=NOW, balance=100, exposure=WIDE)
    assert isinstance(rolled, Reserved)
    assert rolled.charge == await store.ledger.row(second.key)
    assert (rolled.charge.state, rolled.charge.open_tab, rolled.charge.entry.number) == (State.DUE, True, 1)
    # the first is settled at once, with what was signed last; the second may grow
    assert [row.entry.key for row in await store.ledger.next_due(NOW, 9)] == [first.key]
    assert isinstance(await store.ledger.grow(second.key, 30, b"s", NOW, balance=None, exposure=WIDE), Charge)
    assert await sums(store, USDC) == Sums(owed=70, owing=2)
    assert await store.ledger.roll(first.key, second, now=NOW, balance=100, exposure=WIDE) == Known(
        await store.ledger.row(second.key)
    )
    await store.ledger.settled(first.key, "0x1", 7, NOW)
    whole = await store.ledger.finish(first.key, result=result(), receipt=b"receipt", now=NOW, last=second.key)
    assert (whole.state, whole.receipt, whole.delivered) == (State.SETTLED, b"receipt", Delivered.ALL)
    assert [row.open_tab for row in await store.ledger.of_call(first.request)] == [False, False]
    assert [row.entry.number for row in await store.ledger.of_call(first.request)] == [0, 1]
    assert (await reserve(store, first)).charge.result == result()


async def test_a_tab_without_room_is_not_there_and_the_one_before_makes_room(store) -> None:
    await due(store, whole=False, tab=True, amount=40)
    first, second = entry(tab=True, amount=40), entry(2, tab=True, amount=20)
    tight = Exposure(payer=50, total=1000)
    refused = await store.ledger.roll(first.key, second, now=NOW, balance=None, exposure=tight)
    assert refused.code == faults.EXPOSURE
    assert await store.ledger.row(second.key) is None
    [shut] = await store.ledger.next_due(NOW, 9)
    await store.ledger.settled(shut.entry.key, "0x1", 7, NOW)
    again = await store.ledger.roll(first.key, second, now=NOW, balance=None, exposure=tight)
    assert isinstance(again, Reserved)


# --- settlement -------------------------------------------------------------------------------------------------------
async def test_what_ends_first_is_settled_first(store) -> None:
    for number, until in ((1, UNTIL + 20), (2, UNTIL), (3, UNTIL + 10)):
        await due(store, number, until=until)
    await reserve(store, entry(4))
    found = await store.ledger.next_due(NOW, 2)
    assert [row.entry.key for row in found] == [entry(2).key, entry(3).key]
    await store.ledger.postpone(entry(2).key, NOW + 1)
    assert [row.entry.key for row in await store.ledger.next_due(NOW, 9)] == [entry(3).key, entry(1).key]
    assert len(await store.ledger.next_due(NOW + 1, 9)) == 3
    assert await store.ledger.next_due(NOW, 9, network="eip155:84") == []
    assert len(await store.ledger.next_due(NOW, 9, network="eip155:8453")) == 2


async def test_what_is_on_its_way_is_not_crowded_out(store) -> None:
    for number, until in ((1, UNTIL + 20), (2, UNTIL), (3, UNTIL + 10)):
        await due(store, number, until=until)
    await store.ledger.submitted(entry(1).key, transaction(1, nonce=7), NOW)
    found = await store.ledger.next_due(NOW, 2)
    assert [row.entry.key for row in found] == [entry(2).key, entry(1).key]


async def test_one_transaction_settles_several_and_a_charge_may_have_several(store) -> None:
    keys = [(await due(store, number)).entry.key for number in (1, 2)]
    rows = await store.ledger.submitted(keys, transaction(1, nonce=7), NOW + 1)
    assert [row.transaction for row in rows] == [transaction(1).hash] * 2
    await store.ledger.submitted(keys[0], transaction(2, nonce=7), NOW + 2)
    await store.ledger.submitted(keys[0], transaction(2, nonce=7), NOW + 3)
    kept = [replace(transaction(1, nonce=7), made_at=NOW + 1), replace(transaction(2, nonce=7), made_at=NOW + 2)]
    assert await store.ledger.transactions(keys[0]) == kept
    assert await store.ledger.transactions(keys[1]) == kept[:1]
    assert await store.ledger.account_transactions("eip155:8453", "ab" * 20, 7, 9) == kept
    assert await store.ledger.account_transactions("eip155:8453", "ab" * 20, 8, 9) == []


async def test_a_transaction_for_what_is_not_due_is_not_kept(store) -> None:
    first = await due(store)
    await reserve(store, entry(2))
    with pytest.raises(ChargeStateError):
        await store.ledger.submitted([first.entry.key, entry(2).key], transaction(), NOW)
    assert (await store.ledger.row(first.entry.key)).state is State.DUE
    assert await store.ledger.transactions(first.entry.key) == []


async def test_a_transaction_for_less_than_was_signed_meanwhile_is_not_kept(store) -> None:
    before = await due(store, whole=False, tab=True)
    key, stale = before.entry.key, [before.entry.signature]
    await store.ledger.grow(key, 500, b"more", NOW, balance=None, exposure=WIDE)
    (row,) = await store.ledger.submitted(key, transaction(1), NOW, signatures=stale)
    assert (row.entry.amount, row.entry.signature, row.state, row.open_tab) == (500, b"more", State.DUE, False)
    assert await store.ledger.transactions(key) == []
    (row,) = await store.ledger.submitted(key, transaction(2), NOW, signatures=[b"more"])
    assert (row.state, row.transaction) == (State.SUBMITTED, transaction(2).hash)
    assert len(await store.ledger.transactions(key)) == 1


async def test_the_end_of_a_charge_moves_the_sums(store) -> None:
    keys = [(await due(store, number)).entry.key for number in (1, 2, 3)]
    await store.ledger.submitted(keys[0], transaction(), NOW)
    await store.ledger.settled(keys[0], "0x9", 40, NOW)
    await store.ledger.settled(keys[1], "0x9", 30, NOW)
    await store.ledger.lost(keys[2], "cancelled", NOW)
    assert await sums(store, USDC, payer(7)) == Sums(settled=200, settlings=2, lost=100, losses=1)
    assert await store.ledger.next_due(NOW, 9) == []
    assert [row.block for row in await store.ledger.unsure("eip155:8453", 9)] == [30, 40]
    assert [row.block for row in await store.ledger.unsure("eip155:8453", 1)] == [30]
    assert await store.ledger.unsure("eip155:1", 9) == []
    await store.ledger.sure([keys[1], keys[2]])
    assert [row.block for row in await store.ledger.unsure("eip155:8453", 9)] == [40]
    await store.ledger.reopened(keys[0], "reorganised", NOW)
    await store.ledger.settled(keys[2], "0xa", 50, NOW)
    assert await sums(store, USDC) == Sums(owed=100, owing=1, settled=200, settlings=2)
    row = await store.ledger.row(keys[2])
    assert (row.state, row.transaction, row.block) == (State.SETTLED, "0xa", 50)
    assert [row.block for row in await store.ledger.unsure("eip155:8453", 9)] == [50], "a lost one was not sure"


async def test_of_a_lost_charge_the_result_is_dropped_at_once(store) -> None:
    key = (await due(store)).entry.key
    assert (await store.ledger.row(key)).result == result()
    await store.ledger.lost(key, "not settled in time", NOW, by_payer=True)
    row = await store.ledger.row(key)
    assert (row.result, row.receipt) == (replace(result(), data=None), b"receipt")
    assert await store.ledger.forget(UNTIL * 1000 + 2 * limits.PAYMENT_KEY_MARGIN_MS) == 0


# --- reading ----------------------------------------------------------------------------------------------------------
async def test_charges_are_paged_and_summed_by_agent(store) -> None:
    for number in range(4):
        await due(store, number)
    await due(store, 9, agent="another", amount=7)
    await store.ledger.settled(entry(0).key, "0x1", 1, NOW)
    page = await store.ledger.list(ALICE, limit=2)
    assert ([row.entry.request[-1] for row in page.rows], page.more) == ([2, 3], True)
    page = await store.ledger.list(ALICE, after=0, limit=2)
    assert [row.entry.request[-1] for row in page.rows] == [0, 1]
    assert await store.ledger.totals(ALICE) == [Total(USDC, State.DUE, 3, 300), Total(USDC, State.SETTLED, 1, 100)]


# --- restarts, time ---------------------------------------------------------------------------------------------------
async def test_a_restart_releases_what_was_not_delivered_and_keeps_what_is_owed(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ledger_module, "AT_ONCE", 2)
    async with opened(tmp_path / "again.sqlite") as store:
        for number in range(5):
            await reserve(store, entry(number))
        whole = await due(store, 5)
        await due(store, 6, whole=False)
        await due(store, 7, whole=False, tab=True)
        await due(store, 8)
        await store.ledger.submitted(entry(8).key, transaction(), NOW)
    async with opened(tmp_path / "again.sqlite") as store:
        assert await store.ledger.recover(NOW + 9) == Recovered(released=5, interrupted=2)
        assert await store.ledger.recover(NOW + 9) == Recovered(0, 0)
        rows = {row.entry.request[-1]: row for row in (await store.ledger.list(ALICE, limit=20)).rows}
        assert {rows[number].state for number in range(5)} == {State.RELEASED}
        assert {rows[number].reason for number in range(5)} == {"not delivered"}
        assert await store.ledger.row(entry(5).key) == whole
        assert resumable(rows[6])
        assert (rows[7].state, rows[7].delivered) == (State.DUE, Delivered.ALL)
        assert rows[8].state is State.SUBMITTED
        assert await sums(store, USDC) == Sums(owed=400, owing=4)
        assert isinstance(await reserve(store, entry(0)), Reserved)
        assert await unsound(store) == []


async def test_of_what_came_to_nothing_the_newest_are_kept_and_no_sums(store, monkeypatch) -> None:
    monkeypatch.setattr(ledger_module, "RELEASED_KEPT", 3)
    await due(store, 100)
    for number in range(10):
        await reserve(store, entry(number, payer_number=number))
        await store.ledger.release(entry(number, payer_number=number).key, "failed", NOW)
    page = await store.ledger.list(ALICE, limit=20)
    assert [row.entry.key for row in page.rows] == [
        entry(100).key,
        *(entry(number, payer_number=number).key for number in (7, 8, 9)),
    ]
    # accounts without end leave nothing behind
    assert await sums(store, USDC, payer(5)) == Sums()
    count = await store.ledger._database.read(lambda one: one.execute("SELECT count(*) FROM charge_sums").get)
    assert count == 2
    # what is dropped may be shown again, for nothing was handed over
    again = await reserve(store, entry(0, payer_number=0))
    assert isinstance(again, Reserved)
    assert again.charge.attempts == 1


async def test_keys_and_results_are_kept_beyond_the_end_of_an_authorisation(store, monkeypatch) -> None:
    monkeypatch.setattr(ledger_module, "AT_ONCE", 1)
    for number in (1, 2):
        await reserve(store, entry(number))
        await store.ledger.release(entry(number).key, "failed", NOW)
    await due(store, 3)
    await due(store, 4)
    await store.ledger.settled(entry(4).key, "0x1", 1, NOW)
    await reserve(store, entry(5))
    end = UNTIL * 1000 + limits.PAYMENT_KEY_MARGIN_MS
    assert await store.ledger.forget(end) == 0
    assert await store.ledger.forget(end + 1000) == 5
    # nobody is at work for what is reserved still: it was not released, for the disk was full just then
    assert await store.ledger.row(entry(5).key) is await store.ledger.row(entry(1).key) is None
    assert await sums(store, USDC) == Sums(owed=100, owing=1, settled=100, settlings=1)
    for number in (3, 4):
        row = await store.ledger.row(entry(number).key)
        assert (row.result, row.receipt) == (replace(result(), data=None), b"receipt")
    assert await store.ledger.forget(end + 1000) == 0


async def test_what_nobody_is_asked_about_ends_and_is_due_again_where_there_is_a_node(store, monkeypatch) -> None:
    monkeypatch.setattr(ledger_module, "AT_ONCE", 1)
    polygon = f"eip155:137/{ASSET.hex()}"
    keys = [f"{polygon}/{entry(number).key.partition('/')[2].partition('/')[2]}" for number in (1, 2, 3)]
    for number, key in enumerate(keys, 1):
        await due(store, number, key=key, amount=100)
    await store.ledger.submitted(keys[1], transaction(network="eip155:137"), NOW)
    await store.ledger.lost(keys[2], "cancelled", NOW)
    await due(store, 4)
    over = UNTIL * 1000 + limits.PAYMENT_KEY_MARGIN_MS
    assert [await store.ledger.give_up([USDC], at) for at in (over, over + 1000)] == [0, 2]
    rows = [await store.ledger.row(key) for key in (*keys, entry(4).key)]
    assert [row.state for row in rows] == [State.LOST] * 3 + [State.DUE]
    assert [row.reason for row in rows] == [UNASKED, UNASKED, "cancelled", ""]
    assert await sums(store, polygon) == Sums(lost=300, losses=3)
    assert await store.standings.offences(9) == []
    # it no longer stands in the way of others
    exposure = Exposure(payer=100, total=100)
    later = entry(5, key=keys[0][:-64] + "5" * 64, until=over // 1000 + 300)
    assert isinstance(await reserve(store, later, now=over + 1000, exposure=exposure), Reserved)
    await store.ledger.release(later.key, "failed", over)
    # a node says what became of each
    assert await store.ledger.take_up(ALICE, [USDC], over + 2000) == 0
    assert await store.ledger.take_up(ALICE, [USDC, polygon], over + 2000) == 2
    waits = {row.entry.key for row in await store.ledger.next_due(over + 2000, 9, network="eip155:137")}
    assert waits == set(keys[:2])
    assert len(await store.ledger.transactions(keys[1])) == 1
    assert (await store.ledger.settled(keys[1], "0x1", 7, over)).state is State.SETTLED
    assert await store.ledger.give_up([USDC, polygon], over + 3000) == 0

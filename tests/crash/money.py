"""What the books are doing when the power goes, or the disk fills: reserving, owing, growing, settling, signing.

A step that was acknowledged is there after a restart, whole; one that was not is there whole or not at all. And it has
its effect once: what is asked for again finds what it did.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from nexusd.store import Store
from nexusd.store.ledger.purchases import Intended, Resumed
from nexusd_protocols.payments.charge import Charge, Delivered, Known, Reserved, Result, State, drop_data, resumable
from nexusd_protocols.payments.policy import Refuse
from nexusd_protocols.payments.purchase import PurchaseState
from nexusd_protocols.payments.transaction import Transaction
from tests.crash.scenes import Done, Scene, acknowledged, attempt
from tests.unit.protocols.payments.charges import ASSET, INPUT, NOW, WIDE, entry
from tests.unit.store.messages import invocation
from tests.unit.store.payments import intent, pay, signed, sums, within
from tests.unit.store.people import ALICE

USDC: Final = f"eip155:8453/{ASSET.hex()}"
RESULT: Final = Result(digest=b"d" * 32, size=9_000, data=b"result " * 1285 + b"12345")
RECEIPT: Final = b"receipt " * 40


async def _charge(store: Store, number: int) -> Charge:
    row = await store.ledger.row(entry(number).key)
    assert row is not None, "what was there before is lost"
    return row


async def _reserve(store: Store, number: int, **fields: object) -> Reserved | Known:
    answer = await store.ledger.reserve(entry(number, **fields), now=NOW, balance=1000, exposure=WIDE)
    assert isinstance(answer, Reserved | Known)
    return answer


# --- reserve ----------------------------------------------------------------------------------------------------------
async def reserve(store: Store, done: Done) -> None:
    for number in range(3):
        await attempt(done, f"reserve {number}", lambda number=number: _reserve(store, number))


async def check_reserved(store: Store, done: Done) -> None:
    known = {number for number in range(3) if await store.ledger.row(entry(number).key)}
    assert {number for number in range(3) if f"reserve {number}" in acknowledged(done)} <= known, "one is lost"
    for number in range(3):
        answer = await _reserve(store, number)
        assert isinstance(answer, Known if number in known else Reserved), "reserved twice"
    assert (await sums(store, USDC)).owed == 300
    assert (await store.ledger.recover(NOW)).released == 3
    assert (await sums(store, USDC)).owed == 0


# --- due --------------------------------------------------------------------------------------------------------------
async def prepare_reserved(store: Store) -> None:
    for number in range(4):
        await _reserve(store, number)
    await store.ledger.due(entry(3).key, amount=100, now=NOW, input_=INPUT)


async def owe(store: Store, done: Done) -> None:
    """A whole result; a stream that begins; one that fails; one that began before and ends."""
    due, steps = store.ledger.due, store.ledger
    whole = {"result": RESULT, "receipt": RECEIPT, "now": NOW + 1}
    await attempt(done, "whole", lambda: due(entry(0).key, amount=100, **whole))
    await attempt(done, "begun", lambda: due(entry(1).key, amount=100, now=NOW + 1, input_=INPUT))
    await attempt(done, "failed", lambda: steps.release(entry(2).key, "failed", NOW + 1))
    await attempt(done, "ended", lambda: steps.finish(entry(3).key, **whole))


async def check_owed(store: Store, done: Done) -> None:
    tried = acknowledged(done)
    whole, begun, failed, ended = [await _charge(store, number) for number in range(4)]
    for name, row in {"whole": whole, "ended": ended}.items():
        if name in tried or row.delivered is Delivered.ALL:
            assert (row.state, row.result, row.receipt) == (State.DUE, RESULT, RECEIPT), f"{name} is lost, or in part"
    assert ("begun" not in tried) or begun.state is State.DUE
    assert ("failed" not in tried) or failed.state is State.RELEASED
    await store.ledger.recover(NOW + 2)
    for number, before in enumerate((whole, begun, failed, ended)):
        row = await _charge(store, number)
        kept = before.state is State.DUE
        assert row.state is (State.DUE if kept else State.RELEASED)
        answer = await _reserve(store, number)
        assert isinstance(answer, Known) == (row.delivered is Delivered.ALL)
        if kept and row.delivered is not Delivered.ALL:
            assert resumable(row)
            assert answer.charge.state is State.DUE, "it would be charged again"
    assert (await sums(store, USDC)).owed == 400


# --- tabs -------------------------------------------------------------------------------------------------------------
_AMOUNTS: Final = (200, 300, 400)


async def prepare_tab(store: Store) -> None:
    await _reserve(store, 0, tab=True)
    await store.ledger.due(entry(0).key, amount=100, now=NOW)


async def grow(store: Store, done: Done) -> None:
    for amount in _AMOUNTS:
        signature = amount.to_bytes(65, "big")
        await attempt(
            done,
            f"grow {amount}",
            lambda amount=amount, signature=signature: store.ledger.grow(
                entry(0).key, amount, signature, NOW + amount, balance=1000, exposure=WIDE
            ),
        )


async def check_grown(store: Store, done: Done) -> None:
    row = await _charge(store, 0)
    highest = max([100, *(amount for amount in _AMOUNTS if f"grow {amount}" in acknowledged(done))])
    assert row.entry.amount >= highest, "what was signed is lost"
    assert row.entry.amount in (100, *_AMOUNTS)
    assert int.from_bytes(row.entry.signature, "big") == row.entry.amount, "another amount's signature"
    await store.ledger.recover(NOW + 999)
    [due] = await store.ledger.next_due(NOW + 999, 9)
    assert due.entry.amount == row.entry.amount


_SECOND_TAB: Final = replace(entry(1, tab=True, amount=50, request=entry(0).request), number=1)


async def roll(store: Store, done: Done) -> None:
    """The next tab of the call, growth of that, and the end of both."""
    first, second, ledger = entry(0).key, _SECOND_TAB, store.ledger
    grown = (80).to_bytes(65, "big")
    whole = {"result": RESULT, "receipt": RECEIPT, "now": NOW + 3}
    await attempt(done, "roll", lambda: ledger.roll(first, second, now=NOW + 1, balance=1000, exposure=WIDE))
    if done["roll"] is None:
        await attempt(done, "grow", lambda: ledger.grow(second.key, 80, grown, NOW + 2, balance=1000, exposure=WIDE))
        await attempt(done, "end", lambda: ledger.finish(first, last=second.key, **whole))


async def check_rolled(store: Store, done: Done) -> None:
    tried = acknowledged(done)
    first, second = await _charge(store, 0), await store.ledger.row(_SECOND_TAB.key)
    assert first.open_tab == (second is None), "half of a change of tabs"
    assert "roll" not in tried or second is not None, "a tab is lost"
    if second is not None:
        assert second.entry.amount in (50, 80)
        assert "grow" not in tried or second.entry.amount == 80, "what was signed is lost"
        assert (first.receipt == RECEIPT) == (not second.open_tab), "half of the end"
        assert "end" not in tried or first.result == RESULT, "the result is lost"
    await store.ledger.recover(NOW + 999)
    due = await store.ledger.next_due(NOW + 999, 9)
    assert sum(row.entry.amount for row in due) == 100 + (0 if second is None else second.entry.amount)


# --- settlement -------------------------------------------------------------------------------------------------------
_FIRST, _SECOND = (
    Transaction(
        network="eip155:8453", account="ab" * 20, account_nonce=7, hash=f"0x{number:064x}", raw=bytes([number]) * 500
    )
    for number in (1, 2)
)


async def prepare_due(store: Store) -> None:
    for number in range(3):
        await _reserve(store, number)
        await store.ledger.due(entry(number).key, amount=100, result=RESULT, receipt=RECEIPT, now=NOW)


async def settle(store: Store, done: Done) -> None:
    """Two in one transaction, replaced by another for more gas; one is mined, one was taken back."""
    keys = [entry(0).key, entry(1).key]

    async def submit(transaction: Transaction) -> None:
        if (await _charge(store, 0)).state in (State.DUE, State.SUBMITTED):
            await store.ledger.submitted(keys, transaction, NOW)

    await attempt(done, "first", lambda: submit(_FIRST))
    await attempt(done, "second", lambda: submit(_SECOND))
    await attempt(done, "settled", lambda: store.ledger.settled(keys[0], _SECOND.hash, 40, NOW))
    await attempt(done, "lost", lambda: store.ledger.lost(entry(2).key, "cancelled", NOW))


async def check_settled(store: Store, done: Done) -> None:
    tried = acknowledged(done)
    one, two, three = [await _charge(store, number) for number in range(3)]
    kept = [await store.ledger.transactions(entry(number).key) for number in (0, 1)]
    assert kept[0] == kept[1], "half of what one transaction settles"
    raw = [transaction.raw for transaction in kept[0]]
    for name, transaction in {"first": _FIRST, "second": _SECOND}.items():
        assert name not in tried or transaction.raw in raw, "what may have been sent is lost"
    if raw:
        assert two.state is State.SUBMITTED
        assert two.transaction in (_FIRST.hash, _SECOND.hash)
        assert (await store.ledger.account_transactions("eip155:8453", "ab" * 20, 0, 9))[-1].account_nonce == 7
    assert ("settled" not in tried) or (one.state, one.block) == (State.SETTLED, 40)
    assert ("lost" not in tried) or three.state is State.LOST
    assert (one.result, two.result) == (RESULT, RESULT)
    assert three.result == (drop_data(RESULT) if three.state is State.LOST else RESULT), "half of what losing takes"
    await store.ledger.recover(NOW)
    again = [await _charge(store, number) for number in range(3)]
    assert again == [one, two, three], "a restart changed what is owed"


# --- the payer --------------------------------------------------------------------------------------------------------
def _tries(store: Store) -> dict[str, Callable[[], Awaitable[object]]]:
    tab = intent(2, tab=True)
    steps = store.purchases

    async def unless_rolled(step: Callable[[], Awaitable[object]]) -> None:
        row = await steps.get(tab.id)
        if row is not None and not row.tabs:
            await step()

    return {
        "go": lambda: steps.stop(False),
        "intend 0": lambda: steps.intend(intent(0), within(400, 100), now=NOW),
        "intend 1": lambda: steps.intend(intent(1), within(400, 100), now=NOW),
        "sign": lambda: steps.signed("purchase-3", signed(intent(3)), NOW),
        "sign more": lambda: unless_rolled(lambda: steps.signed(tab.id, signed(tab, amount=60), NOW)),
        "sign the next": lambda: unless_rolled(lambda: steps.rolled(tab.id, signed(tab, amount=30, tab=1), pay, NOW)),
        "spent": lambda: steps.spent("purchase-4", receipt=RECEIPT, response=b"{}", now=NOW),
        "stop": lambda: steps.stop(True),
    }


async def prepare_purchases(store: Store) -> None:
    tab = intent(2, tab=True)
    for one in (tab, intent(3, cost=0), intent(4, cost=100)):
        assert isinstance(await store.purchases.intend(one, pay, now=NOW), Intended)
    await store.purchases.signed(tab.id, signed(tab, amount=20), NOW)
    await store.purchases.signed("purchase-4", signed(intent(4)), NOW)


async def buy(store: Store, done: Done) -> None:
    for name, step in _tries(store).items():
        await attempt(done, name, step)


async def check_bought(store: Store, done: Done) -> None:
    tried = acknowledged(done)
    rows = {number: await store.purchases.get(f"purchase-{number}") for number in range(5)}
    for number in (0, 1):
        assert f"intend {number}" not in tried or rows[number] is not None, "a budget that was taken is free again"
    counted = 200 + 100 * sum(rows[number] is not None for number in (0, 1))
    assert (await store.purchases.spent_view(ALICE, NOW)).day == counted
    one, tab, done_ = rows[3], rows[2], rows[4]
    assert one is not None
    assert tab is not None
    assert done_ is not None
    assert one.signed in (None, signed(intent(3)))
    assert "sign" not in tried or one.signed is not None, "a signature is lost"
    assert tab.signed is not None
    assert tab.signed.authorization.value == (30 if tab.tabs else tab.total)
    assert tab.total in (20, 60, 50, 90)
    assert len(await store.purchases.tabs(tab)) == tab.tabs + 1
    assert "sign the next" not in tried or tab.tabs == 1, "a tab is lost"
    assert int.from_bytes(tab.signed.signature, "big") == tab.signed.authorization.value
    assert "sign more" not in tried or tab.total in (60, 90), "a signature is lost"
    assert "spent" not in tried or (done_.state, done_.receipt) == (PurchaseState.SPENT, RECEIPT)
    stopped = await store.purchases.stopped()
    assert "stop" not in tried or stopped, "the switch is off again"
    for number in (0, 1):
        answer = await store.purchases.intend(intent(number), within(counted, 100), now=NOW)
        assert isinstance(answer, Resumed if rows[number] else Refuse), "a budget was taken twice"


# --- metering ---------------------------------------------------------------------------------------------------------
async def call(store: Store, done: Done) -> None:
    for number in range(3):
        row = invocation(number, asset=USDC, amount=5, payment=entry(number).key, units=2)
        await attempt(done, f"call {number}", lambda row=row: store.invocations.record(ALICE, row))


async def check_called(store: Store, done: Done) -> None:
    rows = (await store.invocations.list(ALICE, limit=9)).rows
    assert len(rows) >= len(acknowledged(done)), "a call is lost"
    paid = {row.payment for row in rows}
    assert sum(meter.amount for meter in await store.metering.sums(ALICE)) == 5 * len(paid), "counted twice, or lost"


MONEY: Final = [
    Scene("reserve", reserve, check_reserved),
    Scene("owe", owe, check_owed, prepare_reserved),
    Scene("grow", grow, check_grown, prepare_tab),
    Scene("roll", roll, check_rolled, prepare_tab),
    Scene("settle", settle, check_settled, prepare_due),
    Scene("buy", buy, check_bought, prepare_purchases),
    Scene("call", call, check_called),
]

"""What payers are known by."""

import shutil
from pathlib import Path

import apsw
import pytest

from nexusd.store import Store
from nexusd.store.ledger.standings import Record
from tests.harness.soundness import faults as unsound
from tests.unit.protocols.payments.charges import BOB, MALLORY, NOW, WIDE, entry, payer, result

FIXTURES = Path(__file__).parents[2] / "fixtures"


async def due(store, number, **fields):
    one = entry(number, **fields)
    await store.ledger.reserve(one, now=NOW, balance=None, exposure=WIDE)
    await store.ledger.due(one.key, amount=one.amount, result=result(), receipt=b"r", now=NOW)
    return one.key


@pytest.fixture(autouse=True)
async def _sound(store):
    yield
    assert await unsound(store) == []


async def test_settled_payments_are_counted_by_peer_and_no_further_than_asked(store) -> None:
    for number in range(1, 4):
        await store.ledger.settled(await due(store, number), "0x1", 1, NOW)
    await due(store, 4)
    assert await store.standings.record(BOB, None, 9) == Record(3, False)
    assert await store.standings.record(BOB, payer(7), 2) == Record(2, False)
    assert await store.standings.record(MALLORY, payer(7), 9) == Record(0, False)


async def test_what_a_payer_took_back_stands_against_peer_and_account(store) -> None:
    key = await due(store, 1)
    await store.ledger.lost(key, "cancelled by the payer", NOW, by_payer=True)
    # the peer with another account, and another peer with the account
    assert (await store.standings.record(BOB, payer(8), 9)).offended
    assert (await store.standings.record(MALLORY, payer(7), 9)).offended
    assert not (await store.standings.record(MALLORY, payer(8), 9)).offended
    assert not (await store.standings.record(MALLORY, None, 9)).offended
    (row,) = await store.standings.offences(9)
    assert (row.entry.key, row.reason) == (key, "cancelled by the payer")


async def test_what_was_lost_through_nobodys_doing_stands_against_nobody(store) -> None:
    await store.ledger.lost(await due(store, 1), "not settled in time", NOW)
    assert not (await store.standings.record(BOB, payer(7), 9)).offended
    assert await store.standings.offences(9) == []


async def test_what_is_settled_after_all_stands_no_more(store) -> None:
    key = await due(store, 1)
    await store.ledger.lost(key, "cancelled", NOW, by_payer=True)
    await store.ledger.settled(key, "0x1", 1, NOW)
    assert await store.standings.record(BOB, payer(7), 9) == Record(1, False)


@pytest.mark.parametrize("whom", ["peer", "payer"])
async def test_a_person_clears_a_record(store, whom) -> None:
    for number in (1, 2):
        await store.ledger.lost(await due(store, number), "cancelled", NOW, by_payer=True)
    other = await due(store, 3, payer_number=8, peer=MALLORY)
    await store.ledger.lost(other, "cancelled", NOW, by_payer=True)
    cleared = await store.standings.clear(**({"peer": BOB} if whom == "peer" else {"payer": payer(7)}))
    assert cleared == 2
    assert not (await store.standings.record(BOB, payer(7), 9)).offended
    assert [row.entry.key for row in await store.standings.offences(9)] == [other]
    assert await store.standings.clear(peer=BOB) == 0


async def test_losses_of_an_older_store_stand_by_their_reasons(tmp_path) -> None:
    old = tmp_path / "old.sqlite"
    shutil.copyfile(FIXTURES / "store-v7.sqlite", old)
    reasons = {
        1: "cancelled by the payer",
        2: "the payer had 5 of 7 moved",
        3: "not settled in time: the transfer would fail: ERC20: transfer amount exceeds Balance",
        4: "not settled in time: there is no account to pay for gas",
        5: "not settled in time",
        6: "not settled in time: the transfer would fail: Pausable: paused",
    }
    connection = apsw.Connection(str(old))
    for number, reason in reasons.items():
        one = entry(number, payer_number=number)
        connection.execute(
            "INSERT INTO charges (key, agent, peer, capability, request, pay_to, amount, valid_after, valid_before,"
            " signature, tab, bound, state, working, attempts, delivered, result_digest, result_size, result_kept,"
            " result_ref, receipt, tx, block, reason, created_at, changed_at)"
            " VALUES (?, ?, ?, 'c', x'', x'', '1', 0, 1, x'', 0, 0, 'lost', 0, 1, 'all', x'', 0, 0, '', x'', '', 0, ?,"
            " 0, 0)",
            (one.key, one.agent, one.peer, reason),
        )
    connection.close()
    async with Store.open(old) as store:
        found = {number: (await store.standings.record(MALLORY, payer(number), 1)).offended for number in reasons}
        assert found == {1: True, 2: True, 3: True, 4: False, 5: False, 6: False}

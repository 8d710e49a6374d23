"""What settlement decides, one rule at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexusd.chain.settlement import memory, slots
from nexusd.chain.settlement import queue as rules
from nexusd.chain.settlement.steps import Inquire, Lose, Make, Postpone, Reopen, Send, Settle, Sure
from nexusd.chain.views import Canceled, ChainFault, Paid, Receipt, Unused
from nexusd_protocols.payments.charge import State
from nexusd_protocols.payments.transaction import Fees
from tests.unit.chain.surveys import (
    FEES,
    NOW,
    UNTIL,
    deciding,
    later,
    look,
    made,
    owed,
    policy,
    receipt,
    survey,
)


def test_what_is_due_gets_a_transaction_each_with_the_next_numbers():
    ones = [owed(number) for number in (1, 2, 3)]
    steps = look(deciding(policy()), survey(*ones, pending=7), *ones)
    assert [(step.keys, step.nonce) for step in steps] == [((one.key,), 7 + place) for place, one in enumerate(ones)]
    assert {step.fees for step in steps} == {Fees(2 * 50 + 1_000_000, 1_000_000)}


def test_no_more_are_on_their_way_than_may_be():
    ones = [owed(number) for number in range(1, 30)]
    queue = deciding(policy(in_flight=4))
    assert sum(question.simulate for question in queue.questions(ones, [])) == 4
    flying = [owed(100 + place, made(5 + place, data=bytes([place]))) for place in range(3)]
    steps = look(queue, survey(*flying, *ones, pending=8), *flying, *ones)
    assert [step.keys for step in steps if isinstance(step, Make)] == [(ones[0].key,)]


def test_ours_succeeded():
    one = owed(1, made())
    steps = look(deciding(policy()), survey(one, nonce=6, pending=6, receipts=receipt(one, one.transactions[0])), one)
    assert steps == [Settle(one.key, one.transactions[0].hash, 100)]


def test_a_large_one_is_settled_when_its_block_is_safe():
    one = owed(1, made(), amount=1_000)
    for safe, block, settled in ((99, 100, False), (100, 100, True), (None, 92, False), (None, 91, True)):
        receipts = receipt(one, one.transactions[0], block, 1_000)
        (step,) = look(deciding(policy()), survey(one, nonce=6, pending=6, safe=safe, receipts=receipts), one)
        assert isinstance(step, Settle if settled else Postpone), (safe, block)


def test_a_success_without_the_logs_proves_nothing():
    one = owed(1, made())
    receipts = {one.transactions[0].hash: Receipt(100, True, ())}
    seen = survey(one, nonce=6, pending=6, receipts=receipts, used={one.key: True})
    assert look(deciding(policy()), seen, one) == [Inquire(one.key)]


@pytest.mark.parametrize(
    ("found", "step"),
    [
        (Paid("0xother", 80, 100), Settle),
        (Paid("0xother", 100, 100), Settle),
        (Paid("0xother", 80, 99), Lose),
        (Paid("0xother", 100, 99), Postpone),
        (Canceled("0xother", 80), Lose),
        (Canceled("0xother", 91), Postpone),
        (ChainFault("deadline"), Postpone),
        (Unused(0), None),
    ],
)
def test_what_the_logs_say(found, step):
    one = owed()
    steps = deciding(policy()).learn(one, found, survey(one), NOW)
    assert [type(each) for each in steps] == ([step] if step else [])
    assert all(each.by_payer for each in steps if isinstance(each, Lose))


def test_the_chain_s_time_decides_what_is_lost():
    one = owed()
    queue = deciding(policy())
    for late, expected in ((-1, []), (0, []), (rules.LOST_AFTER_S, [])):
        assert look(queue, survey(one, time_s=UNTIL + late), one) == expected
    (step,) = look(queue, survey(one, time_s=UNTIL + rules.LOST_AFTER_S + 1), one, now=0)
    assert step == Lose(one.key, "not settled in time")


def test_what_would_fail_costs_no_gas_and_waits_longer_each_time():
    one = owed()
    queue = deciding(policy())
    waits = []
    for _ in range(8):
        (step,) = look(queue, survey(one, failing={one.key: "balance"}), one)
        assert isinstance(step, Postpone)
        waits.append(step.until - NOW)
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (rules.FIRST_WAIT_MS, rules.LONGEST_WAIT_MS)
    assert queue.reasons[one.key] == "the transfer would fail: balance"
    (lost,) = look(queue, survey(one, time_s=UNTIL + 31), one)
    assert lost == Lose(one.key, "not settled in time: the transfer would fail: balance", by_payer=True)


def test_what_fails_through_nobodys_doing_stands_against_nobody():
    one = owed()
    queue = deciding(policy())
    look(queue, survey(one, failing={one.key: "Pausable: paused"}), one)
    (lost,) = look(queue, survey(one, time_s=UNTIL + 31), one)
    assert lost == Lose(one.key, "not settled in time: the transfer would fail: Pausable: paused")


def test_the_same_bytes_again_then_more_for_them():
    one = owed(1, made())
    (transaction,) = one.transactions
    queue = deciding(policy())
    assert look(queue, survey(one), one) == [Send(transaction)]  # a new start: nobody knows what was sent
    queue.sent(transaction, "sent", NOW)
    assert look(queue, survey(one, pending=6), one, now=NOW + 1000) == []
    assert look(queue, survey(one, pending=6), one, now=NOW + slots.RESEND_MS) == [Send(transaction)]
    queue.sent(transaction, "known", NOW + slots.RESEND_MS)
    # a chain that stands still is no reason
    assert look(queue, survey(one, pending=6), one, now=NOW + slots.BUMP_MS) == [Send(transaction)]
    (step,) = look(queue, later(one, pending=6), one, now=NOW + slots.BUMP_MS)
    assert isinstance(step, Make)
    assert (step.keys, step.nonce) == ((one.key,), 5)
    assert step.fees.most * 8 >= FEES.most * 9
    assert step.fees.tip * 8 >= FEES.tip * 9


def test_what_the_node_finds_too_little_is_raised_soon():
    one = owed(1, made())
    queue = deciding(policy())
    queue.sent(one.transactions[0], "fee_too_low", NOW)
    assert [type(step) for step in look(queue, survey(one), one, now=NOW + slots.LOW_BUMP_MS)] == [Make]


def test_only_the_first_in_the_line_is_raised():
    ones = [owed(1, made(5)), owed(2, made(6, data=b"2"))]
    queue = deciding(policy())
    for one in ones:
        queue.sent(one.transactions[0], "sent", NOW + slots.BUMP_MS)
    look(queue, survey(*ones, pending=7), *ones)
    steps = look(queue, later(*ones, pending=7), *ones, now=NOW + slots.BUMP_MS)
    assert [(type(step), step.nonce) for step in steps] == [(Make, 5)]


def test_fees_have_an_end():
    one = owed(1, made())
    queue = deciding(policy())
    dear = deciding(replace(policy(), max_fee=FEES.most))
    for each in (queue, dear):
        each.sent(one.transactions[0], "sent", NOW)
        look(each, survey(one, pending=6), one)
    at = NOW + slots.BUMP_MS
    assert [type(step) for step in look(queue, later(one, pending=6), one, now=at)] == [Make]
    assert look(dear, later(one, pending=6), one, now=at) == [Send(one.transactions[0])]
    new = owed(2)
    assert look(deciding(replace(policy(), max_fee=10)), survey(new), new) == []


def test_a_number_used_by_another_is_sure_after_a_while_and_then_made_anew():
    one = owed(1, made(5))
    queue = deciding(policy())
    seen = survey(one, nonce=6, pending=6, failing={one.key: ""})
    assert look(queue, seen, one) == []
    assert look(queue, seen, one, now=NOW + rules.GONE_MS - 1) == []
    (step,) = look(queue, seen, one, now=NOW + rules.GONE_MS)
    assert (step.keys, step.nonce) == ((one.key,), 6)


def test_what_another_account_sent_is_not_waited_for():
    """The wallet may have been changed because that one had nothing to pay with; its numbers are other numbers."""
    left = replace(made(99), account="ab" * 20)
    one = owed(1, left)
    queue = deciding(policy())
    assert [question.simulate for question in queue.questions([one], [])] == [True]
    seen = survey(one, failing={one.key: ""})
    assert look(queue, seen, one, live=[]) == []
    (step,) = look(queue, seen, one, live=[], now=NOW + 3_000)
    assert (step.keys, step.nonce) == ((one.key,), 5)
    # and if it was taken after all, that is seen
    (step,) = look(queue, replace(seen, receipts=receipt(one, left)), one, live=[], now=NOW + 4_000)
    assert step == Settle(one.key, left.hash, 100)


def test_after_some_that_failed_no_more_are_made():
    transactions = [made(nonce) for nonce in (5, 6, 7)]
    one = owed(1, *transactions)
    failed = {each.hash: Receipt(99, False) for each in transactions}
    seen = survey(one, nonce=8, pending=8, failing={one.key: ""}, receipts=failed)
    (step,) = look(deciding(policy()), seen, one)
    assert isinstance(step, Postpone)
    two = owed(1, *transactions[:2])
    (step,) = look(deciding(policy()), seen, two)
    assert isinstance(step, Make)


def test_a_slot_whose_charge_is_over_is_given_to_another_or_used_up():
    free = made(5)
    queue = deciding(policy())
    one = owed(2)
    (step,) = look(queue, survey(one, pending=6), one, live=[free])
    assert (step.keys, step.nonce) == ((one.key,), 5)
    assert step.fees.most > free.fees.most
    assert look(queue, survey(), live=[free]) == [Send(free)]
    queue.sent(free, "sent", NOW)
    look(queue, survey(pending=6), live=[free])
    (step,) = look(queue, later(pending=6), live=[free], now=NOW + slots.BUMP_MS)
    assert (step.keys, step.nonce) == ((), 5)


def test_a_number_that_nobody_uses_is_used_up_in_the_end():
    one = owed(1, made(7))
    queue = deciding(policy())
    queue.sent(one.transactions[0], "sent", NOW + slots.GAP_MS)
    assert look(queue, survey(one), one) == []
    assert look(queue, survey(one), one, now=NOW + slots.GAP_MS - 1) == []
    (step,) = look(queue, survey(one), one, now=NOW + slots.GAP_MS)
    assert (step.keys, step.nonce) == ((), 5)
    assert look(queue, survey(one, pending=6), one, now=NOW + slots.GAP_MS + 1) == []  # another gap: its time begins


@pytest.mark.parametrize("result", [None, "rejected"])
def test_what_the_node_did_not_take_is_sent_again_sooner(result):
    one = owed(1, made())
    (transaction,) = one.transactions
    queue = deciding(policy())
    queue.sent(transaction, result, NOW)
    assert look(queue, survey(one, pending=6), one, now=NOW + slots.RETRY_MS - 1) == []
    assert look(queue, survey(one, pending=6), one, now=NOW + slots.RETRY_MS) == [Send(transaction)]


def test_without_money_for_gas_nothing_is_made():
    ones = [owed(1), owed(2)]
    queue = deciding(policy())
    enough = (2 * 50 + 1_000_000) * 100
    steps = look(queue, survey(*ones, gas_balance=enough), *ones)
    assert [step.keys for step in steps] == [(ones[0].key,)]
    assert queue.reasons[ones[1].key] == "the account has too little to pay for gas"


def test_why_one_waits_is_what_is_true_now():
    ones = [owed(1), owed(2)]
    queue = deciding(policy(in_flight=1))
    look(queue, survey(*ones, failing={each.key: "balance" for each in ones}), *ones)
    (make,) = look(queue, survey(*ones), *ones)
    assert make.keys == (ones[0].key,)
    assert [queue.reasons[each.key] for each in ones] == [rules.SENT, rules.IN_TURN]
    poor = survey(*ones, gas_balance=0)
    assert look(queue, poor, *ones) == []
    assert {queue.reasons[each.key] for each in ones} == {slots.TOO_LITTLE}


def test_a_reorganisation_of_what_was_settled():
    one = owed(1, made())
    settled = replace(
        one, charge=replace(one.charge, state=State.SETTLED, transaction=one.transactions[0].hash, block=100)
    )
    queue = deciding(policy())
    there = receipt(one, one.transactions[0])

    def again(**changes):
        return look(queue, survey(settled, nonce=6, pending=6, **changes), live=[], watched=[settled])

    assert again(used={one.key: True}, receipts=there) == []
    reopen = [Reopen(one.key, rules.UNDONE)]
    assert again(used={one.key: False}, receipts=there) == reopen
    assert again(used={one.key: True}, receipts=receipt(one, one.transactions[0], 101)) == reopen
    same = Paid(one.transactions[0].hash, 100, 100)
    for found, steps in (
        (replace(same, block=101), reopen),
        (Canceled("0x", 1), reopen),
        (Unused(0), reopen),
    ):
        assert queue.learn(settled, found, survey(settled), NOW) == steps
    # until nothing can undo its block
    assert again(used={one.key: True}, receipts=there, safe=99) == []
    assert again(used={one.key: True}, receipts=there, safe=100) == [Sure(one.key)]
    assert again(used={one.key: False}, receipts=there, safe=100) == reopen
    assert queue.learn(settled, same, survey(settled, safe=100), NOW) == [Sure(one.key)]


def test_how_a_strangers_transaction_did_is_asked_once_its_block_is_safe():
    one = owed(1)
    settled = replace(one, charge=replace(one.charge, state=State.SETTLED, transaction="0xother", block=100))
    queue = deciding(policy())

    def again(now: int = NOW, **changes):
        return look(queue, survey(settled, **changes), live=[], watched=[settled], now=now)

    assert again(used={one.key: True}, safe=99) == []
    assert again(used={one.key: False}, safe=99) == [Reopen(one.key, rules.UNDONE)]
    assert again(used={one.key: True}, safe=100) == [Inquire(one.key)]
    # where the chain does not say, not at each look again
    assert queue.learn(settled, ChainFault("deadline"), survey(settled, safe=100), NOW) == []
    assert again(NOW + rules.LONGEST_WAIT_MS - 1, used={one.key: True}, safe=100) == []
    assert again(NOW + rules.LONGEST_WAIT_MS, used={one.key: True}, safe=100) == [Inquire(one.key)]
    assert queue.learn(settled, Paid("0xother", 100, 100), survey(settled, safe=100), NOW) == [Sure(one.key)]


def test_after_a_reorganisation_nothing_is_made_before_the_slots_are_seen():
    queue = deciding(policy())
    look(queue, survey(nonce=9, pending=9))
    one = owed()
    assert look(queue, survey(one, nonce=5), one) == []
    assert [type(step) for step in look(queue, survey(one, nonce=5), one)] == [Make]


def test_what_is_remembered_has_a_bound(monkeypatch):
    monkeypatch.setattr(memory, "ENTRIES", 3)
    queue = deciding(policy())
    for number in range(1, 10):
        one = owed(number)
        look(queue, survey(one, failing={one.key: "no"}), one)
    assert len(queue.reasons) == 3

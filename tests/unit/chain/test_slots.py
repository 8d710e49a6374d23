"""What goes into one transaction, and that it never hurts what is in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexusd.chain.settlement import slots
from nexusd.chain.settlement.steps import Inquire, Lose, Make, Postpone, Send, Settle
from nexusd.chain.views import Receipt
from tests.unit.chain.surveys import NOW, TIME, deciding, later, look, made, owed, policy, receipt, survey


def keys(*ones) -> tuple[str, ...]:
    return tuple(one.key for one in ones)


def makes(steps) -> list[tuple[str, ...]]:
    return [step.keys for step in steps if isinstance(step, Make)]


def together(*ones, block: int = 100, lacks=()) -> dict[str, Receipt | None]:
    """The receipt of the transaction that all have, with the logs of those whose transfers went through."""
    (transaction,) = {one.transactions[0] for one in ones}
    paid = [receipt(one, transaction, block)[transaction.hash].logs for one in ones if one not in lacks]
    logs = [log for pair in paid for log in pair]
    return {transaction.hash: Receipt(block, True, tuple(replace(log, index=at) for at, log in enumerate(logs)))}


@pytest.mark.parametrize(
    ("waiting", "sizes"), [(1, [1]), (4, [1] * 4), (5, [5]), (10, [10]), (11, [5, 6]), (31, [7, 8, 8, 8])]
)
def test_five_or_more_share_transactions(waiting: int, sizes: list[int]):
    ones = [owed(number) for number in range(1, waiting + 1)]
    steps = look(deciding(policy()), survey(*ones, batches=True), *ones)
    assert [len(group) for group in makes(steps)] == sizes
    assert [key for group in makes(steps) for key in group] == [one.key for one in ones]
    assert [step.nonce for step in steps] == list(range(5, 5 + len(sizes)))


def test_not_where_the_contract_is_missing():
    ones = [owed(number) for number in range(1, 8)]
    assert makes(look(deciding(policy()), survey(*ones), *ones)) == [(one.key,) for one in ones]


def test_how_many_is_the_policy_s():
    ones = [owed(number) for number in range(1, 8)]
    few = look(deciding(policy(batch_least=2, batch_most=3)), survey(*ones, batches=True), *ones)
    assert [len(group) for group in makes(few)] == [2, 2, 3]
    none = look(deciding(policy(batch_least=100)), survey(*ones, batches=True), *ones)
    assert len(makes(none)) == 7
    more = look(deciding(policy(batch_least=2, batch_most=2, in_flight=2)), survey(*ones, batches=True), *ones)
    assert makes(more) == [keys(ones[0]), keys(*ones[1:3])]


def test_a_payer_that_is_a_contract_goes_alone():
    """It could use up the gas of the others."""
    ones = [owed(number) for number in range(1, 8)]
    seen = survey(*ones, batches=True, contracts=frozenset({ones[2].key}))
    assert makes(look(deciding(policy()), seen, *ones)) == [keys(*ones[:2], *ones[3:]), keys(ones[2])]


def test_what_would_fail_is_left_out():
    ones = [owed(number) for number in range(1, 8)]
    seen = survey(*ones, batches=True)
    seen = replace(seen, failing={**seen.failing, ones[3].key: "balance"})
    steps = look(deciding(policy()), seen, *ones)
    assert makes(steps) == [keys(*ones[:3], *ones[4:])]
    assert [step.key for step in steps if isinstance(step, Postpone)] == [ones[3].key]


def test_many_are_simulated_once_they_may_share():
    ones = [owed(number) for number in range(1, 100)]
    queue = deciding(policy(in_flight=4))
    assert sum(question.simulate for question in queue.questions(ones, [])) == 4
    look(queue, survey(*ones, batches=True), *ones)
    assert sum(question.simulate for question in queue.questions(ones, [])) == 40


def test_each_is_judged_by_its_own_logs():
    shared = made(5)
    ones = [owed(number, shared) for number in range(1, 7)]
    steps = look(deciding(policy()), survey(*ones, nonce=6, pending=6, receipts=together(*ones)), *ones)
    assert steps == [Settle(one.key, shared.hash, 100) for one in ones]


def test_one_that_fails_goes_alone_and_the_others_are_paid():
    shared = made(5)
    ones = [owed(number, shared) for number in range(1, 7)]
    bad = ones[3]
    seen = survey(*ones, nonce=6, pending=6, batches=True, receipts=together(*ones, lacks=[bad]), failing={bad.key: ""})
    steps = look(deciding(policy()), seen, *ones)
    assert {step.key for step in steps if isinstance(step, Settle)} == {one.key for one in ones} - {bad.key}
    assert makes(steps) == [keys(bad)]
    used = replace(seen, used={**seen.used, bad.key: True})
    assert [step for step in look(deciding(policy()), used, *ones) if not isinstance(step, Settle)] == [
        Inquire(bad.key)
    ]


def test_a_transaction_that_failed_as_a_whole_is_made_again_in_parts():
    shared = made(5)
    ones = [owed(number, shared) for number in range(1, 7)]
    seen = survey(
        *ones,
        nonce=6,
        pending=6,
        batches=True,
        receipts={shared.hash: Receipt(100, False)},
        failing={one.key: "" for one in ones},
    )
    assert makes(look(deciding(policy()), seen, *ones)) == [keys(one) for one in ones]


def test_a_slot_is_theirs_while_one_of_them_needs_it():
    shared = made(5)
    ones = [owed(number, shared) for number in range(1, 7)]
    new = [owed(number) for number in range(11, 17)]
    queue = deciding(policy())
    queue.sent(shared, "sent", NOW)
    steps = look(queue, survey(*ones, *new, pending=6, batches=True), ones[0], *new)
    assert [(step.keys, step.nonce) for step in steps] == [(keys(*new), 6)]
    # all are over: it is given to others, who offer more
    steps = look(queue, survey(*ones, *new, pending=6, batches=True), *new, live=[shared])
    assert [(step.keys, step.nonce) for step in steps] == [(keys(*new), 5)]
    assert steps[0].fees.most > shared.fees.most


def test_one_that_is_stuck_offers_more_for_those_that_are_still_to_be_paid():
    shared = made(5)
    ones = [owed(number, shared) for number in range(1, 7)]
    queue = deciding(policy())
    queue.sent(shared, "sent", NOW)
    assert look(queue, survey(*ones, pending=6), *ones, now=NOW + slots.RESEND_MS) == [Send(shared)]
    queue.sent(shared, "known", NOW + slots.RESEND_MS)
    seen = later(*ones, pending=6)
    seen = replace(seen, used={**seen.used, ones[0].key: True})
    steps = look(queue, seen, *ones, now=NOW + slots.BUMP_MS)
    assert [(step.keys, step.nonce) for step in steps if isinstance(step, Make)] == [(keys(*ones[1:]), 5)]
    assert [step.key for step in steps if isinstance(step, Inquire)] == [ones[0].key]


def test_no_more_go_together_than_there_is_money_for():
    ones = [owed(number) for number in range(1, 9)]
    queue = deciding(policy())
    each = (2 * 50 + 1_000_000) * 100
    steps = look(queue, survey(*ones, batches=True, gas_balance=6 * each), *ones)
    assert makes(steps) == [keys(*ones[:6])]
    assert makes(look(queue, survey(*ones, batches=True, gas_balance=each - 1), *ones)) == []
    assert queue.reasons[ones[0].key] == "the account has too little to pay for gas"
    flying = [owed(100, made(5, data=b"f"))]
    steps = look(queue, survey(*flying, *ones, pending=6, batches=True, gas_balance=4 * each), *flying, *ones)
    assert makes(steps) == [keys(*ones[:3])]


def test_after_a_reorganisation_each_is_looked_at_by_its_own_logs():
    """The transaction is in a block of the same height again, and one of its payments fails there: a cancelling came
    before it."""
    shared = made(5)
    ones = [owed(number, shared) for number in range(1, 4)]
    settled = [
        replace(one, charge=replace(one.charge, state="settled", transaction=shared.hash, block=100)) for one in ones
    ]
    queue = deciding(policy())
    seen = survey(
        *ones, nonce=6, pending=6, receipts=together(*ones, lacks=[ones[1]]), used=dict.fromkeys(keys(*ones), True)
    )
    steps = queue.look(seen, [], [], settled, NOW)
    assert [step.key for step in steps] == [ones[1].key]


def test_one_that_is_late_is_lost_and_the_others_are_not():
    shared = made(5)
    ones = [owed(number, shared) for number in range(1, 6)]
    late = owed(9, shared, until=TIME - 60)
    seen = survey(*ones, late, pending=6)
    queue = deciding(policy())
    queue.sent(shared, "sent", NOW)
    assert [type(step) for step in look(queue, seen, *ones, late)] == [Lose]

"""What to do about what is owed: pure. A survey of the chain and the ledger's rows go in, steps come out.

A charge is judged by the first of these that fits:

    a transaction of ours succeeded, with its logs     paid, once it is deep enough
    the authorisation is over                          ask the logs how: paid by another transaction, or cancelled
    the chain's time is past its end                   lost, a little later
    a transaction of ours is on its way                wait; send it again; offer more for it
    its nonce was used up by another                   make a new one
    the transfer would fail now                        wait, longer each time: balances come back, pauses end
    else                                               make one

Times are the chain's where an authorisation's end is meant, so that a wrong clock loses nothing; `now` (unix
milliseconds) is only for how often.

What is made of those that are to be made, and what becomes of the account's nonces, is decided by `Slots`. A
transaction may be for several charges; each is judged by its own authorisation all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from nexusd.chain import eip3009
from nexusd.chain.ports import Question
from nexusd.chain.settlement.memory import Memory
from nexusd.chain.settlement.policy import Policy
from nexusd.chain.settlement.slots import Slots
from nexusd.chain.settlement.steps import Inquire, Lose, Make, Owed, Postpone, Reopen, Settle, Step, Sure
from nexusd.chain.views import Canceled, ChainFault, Evidence, Paid, SendResult, Survey, Unused
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.charge import State
from nexusd_protocols.payments.transaction import Transaction

LOST_AFTER_S: Final = 30
"""So long behind its end, by the chain's time, a charge is lost: a reorganisation of some blocks changes nothing."""
TIGHT_S: Final = 3
"""With less than this left nothing new is made: it would be in a block too late, and cost gas."""
GONE_MS: Final = 3_000
"""A nonce that is used up and a receipt that is not there: nodes behind one address may not agree for so long."""
AGAIN: Final = 2
"""Inquiries in one look about what was settled by others' transactions."""
REVERTS: Final = 3
"""Transactions that failed in a block, for one charge, before it is left to its end."""
FIRST_WAIT_MS: Final = 2_000
LONGEST_WAIT_MS: Final = 30_000
UNDONE: Final = "a reorganisation took it back"
FAILING: Final = "the transfer would fail: "
"""And then the contract's words: of an account that has too little they speak of its balance."""
SENT: Final = "sent, and not in a block yet"
IN_TURN: Final = "others are sent first"
SIMULATED: Final = 64
"""In one look: each costs the node two calls, and more are not made in the time of a look."""


class Queue:
    """The decisions of one account on one chain. What it remembers is only how often and why: a new one, after a
    restart, comes to the same end."""

    def __init__(self, policy: Policy, account: Address | None) -> None:
        """`account` makes the transactions; None: there is none."""
        self.policy: Final = policy
        self._account: Final = None if account is None else account.hex()
        self.nonce: int | None = None
        """The account's, when it was seen last."""
        self.reasons = Memory[str]()
        """By key: why it waits."""
        self._slots = Slots(policy, self.reasons)
        self._tries = Memory[int]()
        self._gone_at = Memory[int]()
        self._ask_at = Memory[int]()
        """By key of what was settled: when to ask again how, where the chain did not say."""
        self._batches = False
        """Whether several payments may go in one transaction, when the chain was looked at last."""
        self._turn = 0

    def questions(self, owed: Iterable[Owed], watched: Iterable[Owed]) -> list[Question]:
        """What the next survey should be asked. Simulated is what has no transaction on its way, as many as may be
        made."""
        asked: list[Question] = []
        most = min(SIMULATED, self.policy.in_flight * (self.policy.batch_most if self._batches else 1))
        simulated = 0
        for each in owed:
            simulate = simulated < most and not any(map(self._may_be_live, each.transactions))
            simulated += simulate
            asked.append(_question(each, simulate=simulate))
        return asked + [_question(each, simulate=False) for each in watched]

    def look(
        self,
        survey: Survey,
        owed: Sequence[Owed],
        slots: Sequence[Transaction],
        watched: Iterable[Owed],
        now: int,
    ) -> list[Step]:
        """Decide. `slots` are the account's transactions from its nonce on; `watched` was settled in blocks that may
        be undone."""
        undone = self.nonce is not None and survey.nonce < self.nonce
        self.nonce, self._batches = survey.nonce, survey.batches
        if undone:
            self._slots.forget()  # what was in a block may be nowhere
        checked = [found for each in watched if (found := self._still(each, survey, now))]
        steps: list[Step] = [each for each in checked if isinstance(each, Reopen | Sure)]
        waiting: list[Owed] = []
        done: set[str] = set()
        for each in owed:
            judged = self._judge(each, survey, now)
            if judged is None:
                self.reasons.pop(each.key, None)  # what it waited for is over
                waiting.append(each)
                continue
            steps += judged
            done.update(step.key for step in judged if isinstance(step, Settle | Lose))
        steps += self._in_turn([each for each in checked if isinstance(each, Inquire)])
        if self._account is None:
            for each in waiting:
                self.reasons[each.key] = "there is no account to pay for gas"
            return steps
        if undone:  # `slots` lacks what is on its way again
            return steps
        further = self._slots.fill(survey, slots, [each for each in owed if each.key not in done], waiting, now)
        made = {key for step in further if isinstance(step, Make) for key in step.keys}
        for each in waiting:
            if each.key in made:
                self.reasons[each.key] = SENT
            else:
                self.reasons.setdefault(each.key, IN_TURN)
        return steps + further

    def learn(self, each: Owed, found: Evidence | ChainFault, survey: Survey, now: int) -> list[Step]:
        """What an inquiry found."""
        if each.charge.state is State.SETTLED:
            if isinstance(found, ChainFault):
                self._ask_at[each.key] = now + LONGEST_WAIT_MS
                return []
            was = each.charge.transaction, each.charge.block
            if not isinstance(found, Paid) or (found.transaction, found.block) != was:
                return [Reopen(each.key, UNDONE)]
            return [Sure(each.key)]
        match found:
            case Paid():
                return self._paid(each, found, survey, now)
            case Canceled(_, block):
                if not self.policy.is_safe(block, survey):  # lost is for ever, whatever the amount
                    return [self._wait(each.key, "cancelled by the payer, in a block that may be undone", now)]
                return [Lose(each.key, "cancelled by the payer", by_payer=True)]
            case Unused():
                return []
            case ChainFault():
                return [self._wait(each.key, f"it is over, and how is not known: {found}", now)]

    def sent(self, transaction: Transaction, result: SendResult | None, now: int) -> None:
        """What came of handing a transaction over; None: nobody knows."""
        self._slots.sent(transaction, result, now)

    def forget(self, key: str) -> None:
        """It waits no longer."""
        self.reasons.pop(key, None)
        self._tries.pop(key, None)

    # --- what was settled ---------------------------------------------------------------------------------------------
    def _still(self, each: Owed, survey: Survey, now: int) -> Reopen | Inquire | Sure | None:
        """Whether what was settled is as it was; None: it is, and may be undone. How a stranger's transaction did is
        found out by logs alone, for its receipt may be of any size: dear, and so once, when its block is safe. Until
        then it is enough that the authorisation is used."""
        if survey.used.get(each.key) is False:
            return Reopen(each.key, UNDONE)
        receipt = survey.receipts.get(each.charge.transaction)
        if receipt is None:
            due = self.policy.is_safe(each.charge.block, survey) and now >= (self._ask_at.get(each.key) or 0)
            return Inquire(each.key) if due else None
        if not receipt.success or receipt.block != each.charge.block:
            return Reopen(each.key, UNDONE)
        # one of several payments may fail in a transaction that succeeds
        amount = eip3009.paid(each.charge.entry.authorization, each.token.address, receipt.logs)
        if amount is None or amount < each.amount:
            return Reopen(each.key, UNDONE)
        return Sure(each.key) if self.policy.is_safe(receipt.block, survey) else None

    def _in_turn(self, inquiries: Sequence[Inquire]) -> list[Inquire]:
        start = self._turn % len(inquiries) if inquiries else 0
        self._turn = start + AGAIN
        return [*inquiries[start:], *inquiries[:start]][:AGAIN]

    # --- one charge ---------------------------------------------------------------------------------------------------
    def _judge(self, each: Owed, survey: Survey, now: int) -> list[Step] | None:
        """What follows for a charge. None: a transaction is to be made."""
        authorization = each.charge.entry.authorization
        for transaction in each.transactions:
            receipt = survey.receipts.get(transaction.hash)
            if receipt is not None and receipt.success:
                amount = eip3009.paid(authorization, each.token.address, receipt.logs)
                if amount is not None:
                    return self._paid(each, Paid(transaction.hash, receipt.block, amount), survey, now)
        if survey.used.get(each.key):
            return [Inquire(each.key)]
        left = authorization.valid_before - survey.head.time_s
        if left < -LOST_AFTER_S:
            why = self.reasons.get(each.key) or ""
            overdrawn = why.startswith(FAILING) and "balance" in why.lower()
            return [Lose(each.key, f"not settled in time{f': {why}' if why else ''}", by_payer=overdrawn)]
        if left <= 0:
            return []
        return self._on_its_way(each, survey, left, now)

    def _on_its_way(self, each: Owed, survey: Survey, left: int, now: int) -> list[Step] | None:
        if any(map(self._may_be_live, each.transactions)):
            self.reasons[each.key] = SENT
            return []
        unseen = [each for each in each.transactions if survey.receipts.get(each.hash) is None]
        if unseen:
            since = self._gone_at.setdefault(unseen[-1].hash, now)
            if now - since < GONE_MS:
                return []
        failed = len(each.transactions) - len(unseen)
        if failed >= REVERTS:
            return [self._wait(each.key, f"{failed} transactions failed", now)]
        failing = survey.failing.get(each.key)
        if failing is None:  # it was not simulated, for it was thought to be on its way
            return []
        if failing:
            return [self._wait(each.key, f"{FAILING}{failing}", now)]
        return [] if left <= TIGHT_S else None

    def _paid(self, each: Owed, paid: Paid, survey: Survey, now: int) -> list[Step]:
        enough = paid.amount >= each.amount
        sure = (
            self.policy.settles(paid.block, each.amount, survey) if enough else self.policy.is_safe(paid.block, survey)
        )
        if not sure:
            return [self._wait(each.key, f"used in block {paid.block}, which may be undone", now)]
        if not enough:
            return [Lose(each.key, f"the payer had {paid.amount} of {each.amount} moved", by_payer=True)]
        return [Settle(each.key, paid.transaction, paid.block)]

    def _wait(self, key: str, reason: str, now: int) -> Postpone:
        tries = self._tries.get(key) or 0
        self._tries[key] = tries + 1
        self.reasons[key] = reason
        return Postpone(key, now + min(LONGEST_WAIT_MS, FIRST_WAIT_MS << min(tries, 8)))

    def _may_be_live(self, transaction: Transaction) -> bool:
        """Another account's may be too, and is not waited for: it was left, perhaps for having nothing to pay with."""
        return transaction.account == self._account and (self.nonce is None or transaction.account_nonce >= self.nonce)


def _question(each: Owed, *, simulate: bool) -> Question:
    entry = each.charge.entry
    return Question(
        key=each.key,
        token=each.token,
        authorization=entry.authorization,
        signature=entry.signature,
        simulate=simulate,
    )

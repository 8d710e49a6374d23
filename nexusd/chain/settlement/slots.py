"""The nonces of the account that pays for gas: what goes into the next one, and what becomes of those that are not used
up yet. Pure.

A slot that is signed for is sent again whatever became of its charges, since those behind it wait for it; it is given
to other charges if some are waiting. Five charges or more that wait share transactions (Multicall3), in which each may
fail by itself. One of them alone is made of

- a charge for which one was made before: if what failed was another's fault, this one is not at its mercy again;
- a payer that has code: a contract that is asked for its signature may use up all gas of the transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Final

from nexusd.chain.settlement.memory import Memory
from nexusd.chain.settlement.policy import Policy
from nexusd.chain.settlement.steps import Make, Owed, Send, Step
from nexusd.chain.views import SendResult, Survey
from nexusd_protocols.payments.transaction import Transaction

RESEND_MS: Final = 10_000
RETRY_MS: Final = 3_000
"""The same where the node rejected it, or did not say."""
BUMP_MS: Final = 20_000
"""Ten blocks of Base, nearly two of Ethereum: whoever is not in one by then offers too little."""
BUMP_BLOCKS: Final = 2
"""Made meanwhile without it: a chain that stands still is no reason to offer more."""
LOW_BUMP_MS: Final = 1_000
"""Where the node says itself that it is too little."""
GAP_MS: Final = 30_000
"""A nonce that nobody uses, in front of ours: another daemon with this account may still send what it signed."""

TOO_LITTLE: Final = "the account has too little to pay for gas"
"""Why a charge waits until somebody sends money."""

Group = Sequence[Owed]
"""Charges that one transaction is for."""


class Slots:
    """Of one account. What it remembers is only when; `reasons`, by key, is told why a charge waits."""

    def __init__(self, policy: Policy, reasons: MutableMapping[str, str]) -> None:
        self._policy: Final = policy
        self._reasons: Final = reasons
        self._sent_at = Memory[int]()
        self._too_low = Memory[bool]()
        self._first_in_line = Memory[int]()
        """The newest block when a transaction was seen first in the line."""
        self._gap: tuple[int, int] | None = None

    def sent(self, transaction: Transaction, result: SendResult | None, now: int) -> None:
        """What came of handing a transaction over; None: nobody knows."""
        soon = result in (None, "rejected")
        self._sent_at[transaction.hash] = now - RESEND_MS + RETRY_MS if soon else now
        if result == "fee_too_low":
            self._too_low[transaction.hash] = True

    def forget(self) -> None:
        """Everything is to be sent again."""
        self._sent_at.clear()

    def fill(
        self,
        survey: Survey,
        slots: Iterable[Transaction],
        owed: Iterable[Owed],
        waiting: Sequence[Owed],
        now: int,
    ) -> list[Step]:
        """What is sent again, offers more, or is made. `slots` are the account's transactions from its nonce on, by
        nonce and then by age; `waiting`, of what is `owed`, are to be made."""
        live = {each.account_nonce: each for each in slots if each.account_nonce >= survey.nonce}  # the newest of each
        owners: dict[str, list[Owed]] = {}
        for each in owed:
            for transaction in each.transactions:
                owners.setdefault(transaction.hash, []).append(each)
        groups = self._groups(waiting, survey)
        steps: list[Step] = []
        for nonce, transaction in sorted(live.items()):
            mine = owners.get(transaction.hash, [])
            if not mine and groups and (make := self._make(groups[0], nonce, survey, 0, transaction)):
                groups.pop(0)
                steps.append(make)
            elif self._is_stuck(transaction, survey, now) and (
                make := self._make(
                    [each for each in mine if not survey.used.get(each.key)], nonce, survey, 0, transaction
                )
            ):
                steps.append(make)
            elif now - (self._sent_at.get(transaction.hash) or 0) >= RESEND_MS:
                steps.append(Send(transaction))
        return steps + self._close_gap(survey, live, now) + self._append(survey, live, groups)

    # --- what goes together -------------------------------------------------------------------------------------------
    def _groups(self, waiting: Sequence[Owed], survey: Survey) -> list[Group]:
        """In the order in which they end, by the first of each."""
        together = [each for each in waiting if not each.transactions and each.key not in survey.contracts]
        if not survey.batches or len(together) < self._policy.batch_least:
            return [[each] for each in waiting]
        count = -(-len(together) // self._policy.batch_most)
        groups: dict[str, list[Owed]] = {}
        for place in range(count):
            part = together[place * len(together) // count : (place + 1) * len(together) // count]
            groups[part[0].key] = part
        shared = {each.key for each in together}
        return [groups.get(each.key, [each]) for each in waiting if each.key in groups or each.key not in shared]

    def _append(self, survey: Survey, live: Mapping[int, Transaction], groups: Sequence[Group]) -> list[Step]:
        """New transactions, behind all that the node knows."""
        steps: list[Step] = []
        nonce = max(survey.pending, max(live, default=-1) + 1)
        others = max(0, nonce - survey.nonce - len(live))
        gas = sum(each.gas for each in live.values()) + others * self._policy.gas
        for place, group in enumerate(groups[: max(0, self._policy.in_flight - len(live))]):
            make = self._make(group, nonce, survey, gas)
            if make is None:
                self._say_dear(survey, [each for left in groups[place:] for each in left])
                break
            steps.append(make)
            gas += self._policy.gas_of(len(make.keys))
            nonce += 1
        return steps

    def _make(
        self, group: Group, nonce: int, survey: Survey, gas: int, before: Transaction | None = None
    ) -> Make | None:
        """A transaction for as many of a group as the account has the money for, when `gas` is paid. None: for none."""
        fees = self._policy.fees(survey, before.fees if before is not None else None)
        if fees is None:
            return None
        affordable = survey.gas_balance // fees.most - gas
        for size in range(len(group), 0 if group else -1, -1):
            if self._policy.gas_of(size) <= affordable:
                return Make(tuple(each.key for each in group[:size]), nonce, fees)
        return None

    # --- nonces -------------------------------------------------------------------------------------------------------
    def _is_stuck(self, transaction: Transaction, survey: Survey, now: int) -> bool:
        """Whether it should offer more. Only the first in the line can be stuck by its own fees."""
        if transaction.account_nonce != survey.nonce or not self._sent_at.get(transaction.hash):
            return False
        age = now - transaction.made_at
        if self._too_low.get(transaction.hash):
            return age >= LOW_BUMP_MS
        passed = survey.head.number - self._first_in_line.setdefault(transaction.hash, survey.head.number)
        return age >= BUMP_MS and passed >= BUMP_BLOCKS

    def _close_gap(self, survey: Survey, live: Mapping[int, Transaction], now: int) -> list[Step]:
        """The nonce that the chain waits for, where none of ours has it and others of ours are behind it."""
        gap = survey.pending
        if gap in live or gap >= max(live, default=-1):
            self._gap = None
            return []
        if self._gap is None or self._gap[0] != gap:
            self._gap = (gap, now)
        make = self._make([], gap, survey, 0)
        return [make] if make and now - self._gap[1] >= GAP_MS else []

    def _say_dear(self, survey: Survey, waiting: Iterable[Owed]) -> None:
        dear = self._policy.fees(survey) is None
        for each in waiting:
            self._reasons[each.key] = "gas costs more than is allowed" if dear else TOO_LITTLE

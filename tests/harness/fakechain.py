"""A chain in memory, with all that can go wrong on one, by chance: it reorganises, forgets, wants higher fees, is used
by others; the node in front of it fails, lags behind, and lies about what it took.

It keeps the rules that settlement relies on: an account's nonces count once and in order, an authorisation counts once.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from eth_abi import decode as decode_abi

from nexusd.chain import eip3009, multicall3
from nexusd.chain.eip3009 import Log
from nexusd.chain.ports import CHECK_S, Question
from nexusd.chain.views import (
    Canceled,
    ChainFault,
    ChainView,
    Evidence,
    Head,
    Paid,
    Receipt,
    Sent,
    Survey,
    Unused,
)
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.tokens import USDC_BASE, Token
from nexusd_protocols.payments.transaction import Transaction, decode
from nexusd_protocols.payments.verify import Presented

BLOCK_S: Final = 2


class Transfer(NamedTuple):
    """A call of the token's."""

    from_: Address
    to: Address
    value: int
    valid_after: int
    valid_before: int
    nonce: bytes


@dataclass(slots=True)
class Waiting:
    """A transaction that is in no block. `calls` are what it does to the token. A single one that fails takes it along;
    of several each fails by itself, unless one that used up the gas is why all of them did."""

    transaction: Transaction
    calls: list[Transfer]
    burnt: bool = False

    @property
    def several(self) -> bool:
        return len(self.calls) > 1


@dataclass(slots=True)
class Block:
    time_s: int
    transactions: list[Waiting] = field(default_factory=list)
    foreign: list[tuple[str, Authorization, str]] = field(default_factory=list)
    """(what, authorisation, hash): "pay" or "cancel", by somebody else."""


@dataclass(slots=True)
class State:
    """Made anew from the blocks, so that undoing is leaving some out."""

    nonces: dict[str, int] = field(default_factory=dict)
    balances: dict[Address, int] = field(default_factory=dict)
    ends: dict[tuple[Address, bytes], tuple[str, int, int]] = field(default_factory=dict)
    """(payer, nonce): (transaction, block, amount that the payee got; -1: cancelled)."""
    receipts: dict[str, Receipt] = field(default_factory=dict)


class FakeChain:
    """See `ports.Chain`. `chance` decides when `faulty`."""

    network: Final = USDC_BASE.network
    online: Final = True
    batches = True
    """Whether several transfers may go in one transaction."""

    def __init__(self, chance: random.Random, time_s: int, balances: dict[Address, int]) -> None:
        self.chance = chance
        self.faulty = True
        self.balances = balances
        self.base_fee = 100
        self.blocks = [Block(time_s)]
        self.pool: dict[tuple[str, int], Waiting] = {}
        self.offered: list[Transaction] = []
        """All that was ever handed over."""
        self.state = self._replay()

    # --- what goes on there -------------------------------------------------------------------------------------------
    @property
    def time_s(self) -> int:
        return self.blocks[-1].time_s

    def mine(self, foreign: Sequence[tuple[str, Authorization]] = ()) -> None:
        """A block with what others do, and of what waits, in each account's order, what pays enough; sometimes not."""
        block = Block(self.time_s + BLOCK_S)
        for number, (what, authorization) in enumerate(foreign):
            block.foreign.append((what, authorization, f"0x{len(self.blocks):032x}{number:032x}"))
        nonces = dict(self.state.nonces)
        for account, nonce in sorted(self.pool):
            waiting = self.pool[account, nonce]
            late = self.faulty and self.chance.random() < 0.3
            if nonces.get(account, 0) == nonce and waiting.transaction.fees.most >= self.base_fee and not late:
                waiting.burnt = waiting.several and self.faulty and self.chance.random() < 0.15
                block.transactions.append(waiting)
                nonces[account] = nonce + 1
        self.blocks.append(block)
        self.state = self._replay()
        self._clean()

    def undo(self, count: int) -> None:
        """The newest blocks were not: what was in them waits again, or is forgotten."""
        gone = self.blocks[len(self.blocks) - count :]
        del self.blocks[len(self.blocks) - count :]
        self.state = self._replay()
        for block in gone:
            for waiting in block.transactions:
                if self.chance.random() < 0.5:
                    self.pool[waiting.transaction.account, waiting.transaction.account_nonce] = waiting
        self._clean()

    def forget(self) -> None:
        """The nodes lose what waits."""
        self.pool = {slot: waiting for slot, waiting in self.pool.items() if self.chance.random() < 0.5}

    def _clean(self) -> None:
        self.pool = {
            (account, nonce): waiting
            for (account, nonce), waiting in self.pool.items()
            if nonce >= self.state.nonces.get(account, 0)
        }

    def _replay(self) -> State:
        state = State(balances=dict(self.balances))
        for number, block in enumerate(self.blocks):
            index = 0
            for what, authorization, name in block.foreign:
                call = Transfer(
                    authorization.from_,
                    authorization.to,
                    authorization.value,
                    authorization.valid_after,
                    authorization.valid_before,
                    authorization.nonce,
                )
                if what == "pay":
                    index += len(_apply(state, call, block.time_s, name, number, index))
                else:
                    state.ends.setdefault((authorization.from_, authorization.nonce), (name, number, -1))
            for waiting in block.transactions:
                transaction = waiting.transaction
                state.nonces[transaction.account] = transaction.account_nonce + 1
                logs: list[Log] = []
                for call in () if waiting.burnt else waiting.calls:
                    logs += _apply(state, call, block.time_s, transaction.hash, number, index + len(logs))
                index += len(logs)
                success = bool(logs) or not waiting.calls or (waiting.several and not waiting.burnt)
                state.receipts[transaction.hash] = Receipt(number, success, tuple(logs))
        return state

    # --- the node -----------------------------------------------------------------------------------------------------
    def _broken(self) -> ChainFault | None:
        return ChainFault("deadline") if self.faulty and self.chance.random() < 0.15 else None

    async def probe(self, *, timeout: float = CHECK_S) -> ChainFault | None:
        return self._broken()

    async def check(self, payment: Presented, *, timeout: float = CHECK_S) -> ChainView | ChainFault:
        raise NotImplementedError  # settlement asks for evidence only

    async def evidence(
        self, token: Token, authorization: Authorization, *, since_s: int, timeout: float = CHECK_S
    ) -> Evidence | ChainFault:
        if fault := self._broken():
            return fault
        end = self.state.ends.get((authorization.from_, authorization.nonce))
        if end is None:
            return Unused(self.time_s)
        name, block, amount = end
        return Canceled(name, block) if amount < 0 else Paid(name, block, amount)

    async def survey(
        self, account: Address | None, questions: Sequence[Question], transactions: Sequence[str], *, timeout: float
    ) -> Survey | ChainFault:
        if fault := self._broken():
            return fault
        state, name = self.state, account.hex() if account else ""
        nonce = pending = state.nonces.get(name, 0)
        while (name, pending) in self.pool:
            pending += 1
        return Survey(
            head=Head(len(self.blocks) - 1, self.time_s, self.base_fee),
            safe=max(0, len(self.blocks) - 9),
            tip=1,
            nonce=nonce,
            pending=pending,
            gas_balance=10**18,
            batches=self.batches,
            used={each.key: (each.authorization.from_, each.authorization.nonce) in state.ends for each in questions},
            failing={each.key: self._failing(each.authorization) for each in questions if each.simulate},
            receipts={hash_: self._receipt(hash_) for hash_ in transactions},
        )

    async def send(self, transaction: Transaction, *, timeout: float) -> Sent | ChainFault:
        if fault := self._broken():
            return fault
        self.offered.append(transaction)
        answer = self._take(transaction)
        return self._broken() or Sent(answer)

    def close(self) -> None:
        pass

    def _take(self, transaction: Transaction) -> Any:
        slot = (transaction.account, transaction.account_nonce)
        there = self.pool.get(slot)
        if there is not None and there.transaction.hash == transaction.hash:
            return "known"
        if transaction.account_nonce < self.state.nonces.get(transaction.account, 0):
            return "nonce_used"
        if there is not None and transaction.fees.most * 10 < there.transaction.fees.most * 11:
            return "taken"
        if transaction.fees.most < self.base_fee // 2:
            return "fee_too_low"
        if self.faulty and self.chance.random() < 0.1:
            return "sent"  # and forgotten
        self.pool[slot] = Waiting(transaction, read_calls(transaction.raw))
        return "sent"

    def _receipt(self, hash_: str) -> Receipt | None:
        lags = self.faulty and self.chance.random() < 0.2
        return None if lags else self.state.receipts.get(hash_)

    def _failing(self, authorization: Authorization) -> str:
        if self.state.balances.get(authorization.from_, 0) < authorization.value:
            return "balance"
        return "" if self.time_s < authorization.valid_before else "expired"


def read_calls(raw: bytes) -> list[Transfer]:
    """The transfers of one of our transactions."""
    fields = decode(raw[1:])
    to, data = fields[5], fields[7]
    assert isinstance(to, bytes)
    assert isinstance(data, bytes)
    if to != multicall3.ADDRESS:
        return [_transfer(data)] if data else []
    ((*entries,),) = decode_abi(["(address,bool,bytes)[]"], data[4:])
    assert all(may_fail and bytes.fromhex(target[2:]) == USDC_BASE.address for target, may_fail, _ in entries)
    return [_transfer(inner) for _, _, inner in entries]


def _transfer(data: bytes) -> Transfer:
    words = [data[start : start + 32] for start in range(4, len(data), 32)]
    numbers = [int.from_bytes(word, "big") for word in words[2:5]]
    return Transfer(Address(words[0][12:]), Address(words[1][12:]), *numbers, words[5])


def _apply(state: State, call: Transfer, time_s: int, name: str, block: int, index: int) -> list[Log]:
    """Its logs; none if it reverts."""
    from_, to, value, after, before, nonce = call
    if not after < time_s < before or (from_, nonce) in state.ends or state.balances.get(from_, 0) < value:
        return []
    state.balances[from_] -= value
    state.balances[to] = state.balances.get(to, 0) + value
    state.ends[from_, nonce] = (name, block, value)
    used = (eip3009.USED, eip3009.address_word(from_), nonce)
    moved = (eip3009.TRANSFER, eip3009.address_word(from_), eip3009.address_word(to))
    return [
        Log(address=USDC_BASE.address, topics=topics, data=data, transaction=name, block=block, index=index + place)
        for place, (topics, data) in enumerate(((used, b""), (moved, eip3009.uint_word(value))))
    ]

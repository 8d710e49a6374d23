"""The queue at work: one task, which alone makes transactions of its account on its chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from nexusd.chain import eip3009, multicall3
from nexusd.chain.multicall3 import Inner
from nexusd.chain.ports import Chain, SettlementLedger
from nexusd.chain.settlement.policy import Policy
from nexusd.chain.settlement.queue import Queue
from nexusd.chain.settlement.steps import Inquire, Lose, Make, Owed, Postpone, Reopen, Send, Settle, Step, Sure
from nexusd.chain.views import ChainFault, Survey
from nexusd.clock import now_ms
from nexusd_protocols.errors import LocalProtocolError
from nexusd_protocols.payments import transaction as transactions
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Account
from nexusd_protocols.payments.charge import Charge, State, key_parts
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.payments.transaction import Fees, Transaction

log = structlog.get_logger(__name__)

CHARGES: Final = 160
"""Looked at at a time, of those that are owed and of those that are watched: as many as may be on their way, which is
the usual policy's `in_flight` times `batch_most`."""
FEWEST: Final = 16
"""The same of a node that does not get through with more."""
SLOTS: Final = 128
RECEIPTS: Final = 8
"""Of one charge: those of its newest transactions. An older one that succeeded is found by its logs."""
INQUIRIES: Final = 4
"""In one look: each may take many requests."""
SURVEY_S: Final = 15.0
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 2.0
"""Between two looks while something is on its way: a block of Base."""
IDLE_S: Final = 30.0
FAULT_S: Final = 60.0
"""The longest pause behind a node's fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How settlement on a chain stands. `fault`: why the chain says nothing, empty if it does. `reasons` by ledger key:
    why a charge waits."""

    fault: str
    reasons: dict[str, str]


class Settlement:
    """One for each network. `changed` is told the key and the new state of what was settled, lost or reopened, behind
    the commit."""

    def __init__(
        self,
        chain: Chain,
        ledger: SettlementLedger,
        tokens: Tokens,
        *,
        account: Account | None = None,
        policy: Policy | None = None,
        clock: Callable[[], int] = now_ms,
        changed: Callable[[str, State], None] = lambda key, state: None,
    ) -> None:
        """`account` pays the gas; without one, what others settle is still seen. Nothing runs before `run`."""
        self._chain: Final = chain
        self._ledger: Final = ledger
        self._tokens: Final = tokens
        self._chain_id: Final = int(chain.network.removeprefix("eip155:"))
        self._policy: Final = policy or Policy.of(self._chain_id)
        self._clock = clock
        self._changed = changed
        self._account = account
        self._queue = Queue(self._policy, _address(account))
        self._woken = trio.Event()
        self._survey: Survey | None = None
        self._fault: ChainFault | None = None
        self._faults = 0
        self._slots = 0
        self._charges = CHARGES

    def use(self, account: Account | None) -> None:
        """From now on this account pays the gas, or none does."""
        self._account = account
        self._queue = Queue(self._policy, _address(account))
        self.wake()

    def wake(self) -> None:
        """Look now: something is due."""
        self._woken.set()

    def status(self) -> Status:
        """As it was at the last look."""
        return Status(fault=str(self._fault) if self._fault else "", reasons=dict(self._queue.reasons))

    async def run(self) -> None:
        """For ever. A disk that fails ends no settlement: the ledger knows what was not committed."""
        quiet = 0
        while True:
            self._woken = trio.Event()
            try:
                acted = await self.look()
            except OSError as error:  # of the store
                log.warning("settlement stopped for a while", error=str(error))
                acted, self._faults = False, self._faults + 1
            quiet = 0 if acted else quiet + 1
            if self._faults:
                pause = min(FAULT_S, 2.0 ** min(self._faults - 1, 6))
            elif self._survey is not None and (acted or self._slots or quiet < 4):
                pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(quiet, 4))
            else:
                pause = LONGEST_PAUSE_S if self._queue.reasons else IDLE_S
            with trio.move_on_after(pause):
                await self._woken.wait()

    async def look(self) -> bool:
        """Once: see how things are, and do what follows. Returns whether anything did."""
        now = self._clock()
        network = self._chain.network
        account, queue = self._account, self._queue
        due = [
            await self._owed(charge)
            for charge in await self._ledger.next_due(now, self._charges, network=network)
            if self._token(charge)
        ]
        if self._survey is None and not (due or await self._ledger.unsure(network, 1)):
            return False  # who was never paid here asks no node, not even whether it is there
        if self._survey is None and not await self._first_sight(account, queue):
            return False
        watched = [
            await self._owed(charge)
            for charge in await self._ledger.unsure(network, self._charges)
            if self._token(charge)
        ]
        slots: Sequence[Transaction] = ()
        if account is not None:
            if queue.nonce is None and not await self._first_sight(account, queue):
                return False
            assert queue.nonce is not None
            slots = await self._ledger.account_transactions(network, account.address.hex(), queue.nonce, SLOTS)
        self._slots = len({each.account_nonce for each in slots})
        if not due and not watched and not slots:
            self._fault, self._faults = None, 0
            return False
        survey = await self._ask(account, queue, due, watched)
        if survey is None:
            return False
        rows = {each.key: each for each in (*due, *watched)}
        steps = queue.look(survey, due, slots, watched, now)
        await self._keep_sure(steps)
        inquiries, acted = 0, False
        for step in steps:
            if not isinstance(step, Inquire):
                await self._do(step, rows)
                acted |= _acts(step)
                continue
            inquiries += 1
            if inquiries <= INQUIRIES:
                each = rows[step.key]
                entry = each.charge.entry
                found = await self._chain.evidence(
                    each.token, entry.authorization, since_s=each.charge.created_at // 1000, timeout=SURVEY_S
                )
                learned = queue.learn(each, found, survey, self._clock())
                await self._keep_sure(learned)
                for further in learned:
                    await self._do(further, rows)
                    acted |= _acts(further)
        return acted

    # --- seeing -------------------------------------------------------------------------------------------------------
    async def _first_sight(self, account: Account | None, queue: Queue) -> bool:
        """The chain's height and the account's nonce, without which all that there ever was would be looked at."""
        found = await self._chain.survey(_address(account), (), (), timeout=SURVEY_S)
        if isinstance(found, ChainFault):
            self._note(found)
            return False
        self._survey = found
        if account is not None:
            queue.nonce = found.nonce
        return True

    async def _ask(
        self, account: Account | None, queue: Queue, due: Sequence[Owed], watched: Sequence[Owed]
    ) -> Survey | None:
        hashes = [each.hash for owed in due for each in owed.transactions[-RECEIPTS:]]
        hashes += [each.hash for owed in watched for each in owed.transactions if each.hash == owed.charge.transaction]
        found = await self._chain.survey(
            _address(account),
            queue.questions(due, watched),
            list(dict.fromkeys(hashes)),
            timeout=SURVEY_S,
        )
        if isinstance(found, ChainFault):
            self._note(found)
            return None
        if self._faults:
            log.info("the chain answers again", network=self._chain.network)
        self._survey, self._fault, self._faults = found, None, 0
        self._charges = min(CHARGES, 2 * self._charges)
        return found

    def _note(self, fault: ChainFault) -> None:
        if self._fault != fault:
            log.warning("nothing is settled", network=self._chain.network, reason=str(fault))
        self._fault = fault
        self._faults += 1
        if fault.code in ("deadline", "limited"):
            self._charges = max(FEWEST, self._charges // 2)

    def _token(self, charge: Charge) -> bool:
        parts = key_parts(charge.entry.key)
        return self._tokens.get(self._chain_id, bytes.fromhex(parts.asset)) is not None

    async def _owed(self, charge: Charge) -> Owed:
        token = self._tokens.get(self._chain_id, bytes.fromhex(key_parts(charge.entry.key).asset))
        assert token is not None
        return Owed(charge, token, tuple(await self._ledger.transactions(charge.entry.key)))

    # --- doing --------------------------------------------------------------------------------------------------------
    async def _do(self, step: Step, rows: dict[str, Owed]) -> None:
        now = self._clock()
        try:
            match step:
                case Settle(key, transaction, block):
                    await self._ledger.settled(key, transaction, block, now)
                    self._end(key, State.SETTLED, transaction=transaction, block=block)
                case Lose(key, reason, by_payer):
                    await self._ledger.lost(key, reason, now, by_payer=by_payer)
                    self._end(key, State.LOST, reason=reason)
                case Reopen(key, reason):
                    await self._ledger.reopened(key, reason, now)
                    self._end(key, State.DUE, reason=reason)
                case Postpone(key, until):
                    await self._ledger.postpone(key, until)
                case Send(transaction):
                    await self._send(transaction)
                case Make(keys, nonce, fees):
                    await self._make([rows[key] for key in keys], nonce, fees)
                case Inquire() | Sure():
                    pass
        except (LocalProtocolError, LookupError) as error:
            # somebody else changed the charge since the look began: the next one sees it
            log.debug("a step of settlement came too late", step=type(step).__name__, error=str(error))

    async def _keep_sure(self, steps: Iterable[Step]) -> None:
        """All at once: in a busy hour there are many."""
        if keys := [step.key for step in steps if isinstance(step, Sure)]:
            await self._ledger.sure(keys)

    def _end(self, key: str, state: State, **facts: object) -> None:
        self._queue.forget(key)
        log.info("payment", charge=key, state=str(state), **facts)
        self._changed(key, state)

    async def _make(self, group: Sequence[Owed], nonce: int, fees: Fees) -> None:
        """Sign, commit, send; in this order. If more was signed for a tab meanwhile, what settles that is made with the
        same nonce, and the other one is never kept: after a crash it would be sent, and pay less than is owed."""
        account = self._account
        if account is None:
            return
        charges: Sequence[Charge] = [each.charge for each in group]
        while True:
            made = self._sign(account, charges, nonce, fees)
            carried = [charge.entry.signature for charge in charges]
            keys = [charge.entry.key for charge in charges]
            rows = await self._ledger.submitted(keys, made, self._clock(), signatures=carried)
            if [row.entry.signature for row in rows] == carried:
                break
            charges = rows
        await self._send(made)

    def _sign(self, account: Account, charges: Sequence[Charge], nonce: int, fees: Fees) -> Transaction:
        inner = [_transfer(charge) for charge in charges]
        if not inner:
            to, data = account.address, b""
        elif len(inner) == 1:
            to, data = inner[0]
        else:
            to, data = multicall3.ADDRESS, multicall3.aggregate3(inner)
        gas = self._policy.gas_of(len(inner))
        return transactions.sign(account, chain_id=self._chain_id, nonce=nonce, fees=fees, gas=gas, to=to, data=data)

    async def _send(self, transaction: Transaction) -> None:
        found = await self._chain.send(transaction, timeout=SURVEY_S)
        result = None if isinstance(found, ChainFault) else found.result
        self._queue.sent(transaction, result, self._clock())
        if result not in ("sent", "known", "nonce_used"):
            log.warning("a transaction was not taken", transaction=transaction.hash, reason=str(found))


def _acts(step: Step) -> bool:
    """Whether more may follow from it at once: not from having asked, nor from what is left as it was."""
    return not isinstance(step, Postpone | Sure | Inquire)


def _transfer(charge: Charge) -> Inner:
    asset = Address(bytes.fromhex(key_parts(charge.entry.key).asset))
    return Inner(asset, eip3009.transfer_with_authorization(charge.entry.authorization, charge.entry.signature))


def _address(account: Account | None) -> Address | None:
    return None if account is None else account.address

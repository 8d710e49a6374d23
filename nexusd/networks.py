"""The networks of this node: a chain and its settlement for each that has a node in the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import structlog
import trio

from nexusd.chain.evm import EvmChain
from nexusd.chain.settlement import Settlement
from nexusd.chain.settlement.slots import TOO_LITTLE
from nexusd.chain.views import Canceled, ChainFault, Paid
from nexusd.services.payments.ports import Fate, Funds, Health
from nexusd.services.ports import WallClock
from nexusd.store import Store
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.address import Address, checksummed
from nexusd_protocols.payments.authorization import Account, Authorization
from nexusd_protocols.payments.charge import State
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.tokens import Holdings, Token, Tokens
from nexusd_protocols.payments.verify import Presented

log = structlog.get_logger(__name__)

_HOLDINGS_S: Final = 5.0
FIRST_PROBE_S: Final = 1.0
LONGEST_PROBE_S: Final = 60.0
REORGANISED_S: Final = 60
"""So far behind the end of an authorisation the newest block has to be, before it never can be used."""
GAS_S: Final = 15.0
"""How often it is looked whether gas can be paid for, where it could not, or nobody knows."""
LOOK_AGAIN_S: Final = 5.0
"""What was told between the look at the ledger and the wait is seen so much later."""


class Networks:
    """See `services.payments.ports.Chains`."""

    def __init__(self, nodes: Iterable[tuple[int, str]], tokens: Tokens, store: Store, clock: WallClock) -> None:
        """Raises ValueError for a URL that is none."""
        self._chains = {chain_id: EvmChain(chain_id, url, tokens) for chain_id, url in nodes}
        self._settlements = {
            chain_id: Settlement(chain, store.ledger, tokens, clock=clock, changed=self._tell)
            for chain_id, chain in self._chains.items()
        }
        self._faults: dict[int, ChainFault | None] = dict.fromkeys(self._chains)
        self._account: Account | None = None
        self._fuelled: set[int] = set()
        self._empty: set[int] = set()
        """Where the wallet had something to pay gas with when it was looked at last, and where nothing."""
        self._sold = {chain_id: trio.Event() for chain_id in self._chains}
        """Set where something is for sale: who only pays needs no gas, and asks for none."""
        self._opened = trio.Event()
        self._waiting: dict[str, trio.Event] = {}

    def use(self, account: Account) -> None:
        """The wallet is open: its account pays the gas."""
        self._account = account
        self._opened.set()
        for settlement in self._settlements.values():
            settlement.use(account)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look at the nodes, and settle what is due, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                for chain_id, settlement in self._settlements.items():
                    nursery.start_soon(self._probe, chain_id)
                    nursery.start_soon(self._watch_gas, chain_id)
                    nursery.start_soon(settlement.run)
                task_status.started()
                await trio.sleep_forever()
        finally:
            for chain in self._chains.values():
                chain.close()

    async def _probe(self, chain_id: int) -> None:
        """Until the node answers as the right chain would: a wrong one is told of at the start, not at the first
        payment."""
        pause = FIRST_PROBE_S
        while True:
            fault = await self._chains[chain_id].probe()
            if fault is not None and fault != self._faults[chain_id]:
                log.error("chain_not_usable", chain=chain_id, reason=str(fault))
            self._faults[chain_id] = fault
            if fault is None:
                return
            await trio.sleep(pause)
            pause = min(LONGEST_PROBE_S, pause * 2)

    async def _watch_gas(self, chain_id: int) -> None:
        """Know it before anybody signs a payment that could not be settled."""
        await self._sold[chain_id].wait()
        await self._opened.wait()
        while True:
            assert self._account is not None
            await self._pays_gas(chain_id, self._account.address)
            await trio.sleep(GAS_S)

    def _tell(self, key: str, _state: State) -> None:
        if (event := self._waiting.pop(key, None)) is not None:
            event.set()

    # --- Chains -------------------------------------------------------------------------------------------------------
    def online(self, chain_id: int) -> bool:
        """See `Chains`."""
        return chain_id in self._chains

    def health(self) -> list[Health]:
        """See `Chains`."""
        return [self._health(chain_id) for chain_id in self._chains]

    def unable(self, chain_id: int) -> str:
        """See `Chains`."""
        if chain_id not in self._chains:
            return ""
        self._sold[chain_id].set()
        return self._without_gas(chain_id)

    def _without_gas(self, chain_id: int) -> str:
        """Why no gas can be paid for, as far as is known."""
        if self._account is None:
            return "the wallet that pays the gas is locked, or there is none: `nexus wallet unlock`"
        if chain_id in self._empty or TOO_LITTLE in self._settlements[chain_id].status().reasons.values():
            return f"{TOO_LITTLE}: send some to {checksummed(self._account.address)}"
        return ""

    def _health(self, chain_id: int) -> Health:
        fault, status = self._faults[chain_id], self._settlements[chain_id].status()
        problem = (str(fault) if fault is not None else status.fault) or self._without_gas(chain_id)
        return Health(chain_id=chain_id, online=True, settles=not problem, problem=problem, waits=dict(status.reasons))

    async def _pays_gas(self, chain_id: int, account: Address) -> bool:
        """Whether the wallet has anything to pay gas with: looked up until it has. From then on settlement knows."""
        short = TOO_LITTLE in self._settlements[chain_id].status().reasons.values()
        if not short and chain_id not in self._fuelled:
            found = await self.holdings(chain_id, account, ())
            if isinstance(found, PaymentFault):
                return True  # the look at the payment will say what is wrong
            short = not found.gas
        if short and chain_id not in self._empty:
            log.warning("payments_not_taken", chain=chain_id, reason=TOO_LITTLE)
        (self._empty if short else self._fuelled).add(chain_id)
        (self._fuelled if short else self._empty).discard(chain_id)
        return not short

    async def check(self, payment: Presented) -> Funds | PaymentFault:
        """See `Chains`."""
        chain = self._chains.get(payment.token.chain_id)
        if chain is None:
            return Funds(None)
        if self._account is None:
            return PaymentFault(faults.UNEXPECTED_VERIFY, "the provider cannot settle now")
        if not await self._pays_gas(chain.chain_id, self._account.address):
            return PaymentFault(faults.UNEXPECTED_VERIFY, "the provider cannot settle now")
        view = await chain.check(payment)
        if isinstance(view, ChainFault):
            log.warning("payment_not_checked", chain=chain.chain_id, reason=str(view))
            return PaymentFault(faults.UNEXPECTED_VERIFY, "the provider's chain does not answer")
        return view.refusal(payment.authorization) or Funds(view.balance)

    async def watch(self, payment: Presented) -> Funds | PaymentFault:
        """See `Chains`."""
        chain = self._chains.get(payment.token.chain_id)
        if chain is None:
            return Funds(None)
        view = await chain.check(payment)
        if isinstance(view, ChainFault):
            return Funds(None)
        return view.refusal(payment.authorization) or Funds(view.balance)

    async def fate(self, token: Token, authorization: Authorization, since_s: int) -> Fate | None:
        """See `Chains`."""
        chain = self._chains.get(token.chain_id)
        if chain is None:
            return None
        match await chain.evidence(token, authorization, since_s=since_s):
            case ChainFault() as fault:
                log.warning("payment_not_traced", chain=chain.chain_id, reason=str(fault))
                return None
            case Paid(transaction, _, amount):
                return Fate("paid", transaction, amount)
            case Canceled(transaction, _):
                return Fate("canceled", transaction)
            case unused:
                ended = unused.time_s >= authorization.valid_before + REORGANISED_S
                return Fate("unused") if ended else None

    async def holdings(self, chain_id: int, holder: Address, tokens: Sequence[Token]) -> Holdings | PaymentFault:
        """See `Chains`."""
        found = await self._chains[chain_id].holdings(holder, tokens, timeout=_HOLDINGS_S)
        return PaymentFault(faults.UNEXPECTED_VERIFY, str(found)) if isinstance(found, ChainFault) else found

    def wake(self, chain_id: int) -> None:
        """See `Chains`."""
        if (settlement := self._settlements.get(chain_id)) is not None:
            settlement.wake()

    async def changed(self, key: str) -> None:
        """See `Chains`. Looks again after a while all the same."""
        event = self._waiting.setdefault(key, trio.Event())
        try:
            with trio.move_on_after(LOOK_AGAIN_S):
                await event.wait()
        finally:
            if self._waiting.get(key) is event:
                del self._waiting[key]

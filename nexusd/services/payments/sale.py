"""One paid call at the provider: carries out what its gate wants, and tells it what came of it.

    caller's payment -> verify -> Gate -> ledger | chain | work | stream
                                   ^------------------------------'

Everything goes through one queue and one task, in order; what waits (the disk, the chain, the caller) is waited for
there, so that nothing is handed over before what it depends on is committed. The work runs beside it and gives its
output in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
import trio

from nexusd.agents import Agent
from nexusd.host.ports import HostError
from nexusd.services.payments.kept import Kept, pieces_of
from nexusd.services.payments.ports import Chains, Funds, Trust
from nexusd.services.payments.receipts import standard, whole
from nexusd.services.ports import WallClock
from nexusd.services.trade import Closing, Counter, Failure, line_of
from nexusd.store.ledger import Ledger
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.frames import Code
from nexusd_protocols.ndjson import json_size
from nexusd_protocols.payments import binding, faults, published, tab, terms, verify
from nexusd_protocols.payments import gate_inputs as told
from nexusd_protocols.payments import gate_outputs as wanted
from nexusd_protocols.payments.binding import Context
from nexusd_protocols.payments.charge import Exposure, Refused, Reservation, Result, State
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.gate import Delivery, Gate
from nexusd_protocols.payments.policy import measured
from nexusd_protocols.payments.tab_gate import TabGate
from nexusd_protocols.payments.tab_provider import TabProvider
from nexusd_protocols.payments.terms import PriceTerms
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.payments.verify import Presented, Verified
from nexusd_protocols.payments.x402 import Settlement

log = structlog.get_logger(__name__)

UNFUNDED: Final = "unfunded: no chain was asked"
SETTLE_PATIENCE_S: Final = 300.0
"""The longest that a call waits for its settlement; it goes on without it."""

TICK_S: Final = 5.0

TabInput = tab.Grown | tab.Tick

_LATE: Final = frozenset(
    {
        faults.VALID_BEFORE,
        faults.OFFER_EXPIRED,
        faults.INVALID_SCHEME,
        faults.INVALID_NETWORK,
        faults.INVALID_REQUIREMENTS,
        faults.VALUE_MISMATCH,
    }
)
"""What a retry meets when the prices or the clock have moved on: what it paid for is given all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What all sales have in common."""

    agent: Agent
    ledger: Ledger
    chains: Chains
    tokens: Tokens
    trust: Trust
    clock: WallClock


class Sale:
    """See `trade.Sale`."""

    def __init__(
        self, shop: Shop, peer: PeerId, opened: events.Opened, offers: Sequence[PriceTerms], description: str
    ) -> None:
        self._shop = shop
        self._peer = peer
        self._opened = opened
        self._offers = offers
        self._description = description
        self._stream = opened.open.output_mode == "stream"
        request = binding.request_digest(
            request_id=opened.open.request_id,
            caller=opened.caller,
            to_agent=opened.to_agent,
            content=opened.open.content(),
        )
        self._context = Context(shop.agent.signer.peer_id, request)
        self._inputs: deque[tuple[told.Input | TabInput, trio.Event | None]] = deque()
        self._answers: deque[told.Input] = deque()
        self._moved = trio.Event()
        self._work = trio.CancelScope()
        self._sending: trio.CancelScope | None = None
        self._made = Kept()
        self._given = Kept()
        self._failure: Failure | None = None
        self._detail = ""
        self._tab: TabProvider | None = None
        self._late: PaymentFault | None = None
        """What is wrong with the payment now; it may have been right when it was first shown."""

    # --- for the call -------------------------------------------------------------------------------------------------
    def demand(self) -> commands.Demand:
        """See `trade.Sale`."""
        exact = next((offer for offer in self._offers if published.render_terms(offer) is not None), None)
        return commands.Demand(
            None if exact is None else published.render_terms(exact, description=self._description),
            terms.required(self._offers, self._context.provider, description=self._description),
        )

    async def produce(self, event: str, data: Any, size: int) -> None:
        """See `trade.Sale`."""
        line = line_of(event, data)
        cost = await self._cost()
        self._made.add(line, size)
        taken = trio.Event()
        self._tell(told.Produced(line, cost, 0 if self._tab is None else 1), taken)
        await taken.wait()
        while self._gate.paused:
            await self._moved.wait()

    def cancel(self) -> None:
        """See `trade.Sale`."""
        self._break_off(told.Cancelled())

    def lose(self) -> None:
        """See `trade.Sale`."""
        self._break_off(told.Gone())

    def fail(self, code: str) -> None:
        """See `trade.Sale`."""
        self._break_off(told.Failed(code))

    def grown(self, event: events.TabGrown) -> None:
        """See `trade.Sale`."""
        self._tell(tab.Grown(event.tab, event.amount, event.signature))

    def _break_off(self, input_: told.Input) -> None:
        if self._sending is not None:
            self._sending.cancel()
        self._tell(input_)

    def _tell(self, input_: told.Input | TabInput, taken: trio.Event | None = None) -> None:
        self._inputs.append((input_, taken))
        self._move()

    def _move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    # --- the task -----------------------------------------------------------------------------------------------------
    async def run(self, counter: Counter, paid: events.PaymentOffered) -> Closing:
        """See `trade.Sale`."""
        self._counter = counter
        payment = self._read(paid)
        if isinstance(payment, PaymentFault):
            return self._refused(payment)
        self._payment = payment
        self._token = payment.token
        if isinstance(payment, Verified) and payment.terms.flow == "tab":
            self._tab = TabProvider(payment)
        if self._tab is not None and isinstance(payment, Verified):
            self._gate: Gate = TabGate(self._entry(payment), payment.terms.units)
        else:
            self._gate = Gate(self._entry(payment), await self._delivery(payment), stream=self._stream)
        end: wanted.End | None = None
        async with trio.open_nursery() as self._nursery:
            if self._tab is not None:
                self._nursery.start_soon(self._tick)
            todo = self._gate.open()
            while end is None:
                end = await self._carry_out(todo)
                if end is None:
                    todo = await self._next()
            self._work.cancel()
            self._nursery.cancel_scope.cancel()
        if end.charged:
            self._shop.chains.wake(self._token.chain_id)
        return self._closing(end)

    async def _next(self) -> list[wanted.Output]:
        """What follows from the next thing that happened; what answers the gate comes first."""
        if self._answers:
            return self._gate.handle(self._answers.popleft(), self._shop.clock())
        while not self._inputs:
            await self._moved.wait()
        input_, taken = self._inputs.popleft()
        if isinstance(input_, tab.Grown | tab.Tick):
            await self._keep_tab(input_)
            return []
        outputs = self._gate.handle(input_, self._shop.clock())
        if taken is not None:
            taken.set()
        self._move()
        return outputs

    async def _carry_out(self, outputs: list[wanted.Output]) -> wanted.End | None:
        for output in outputs:
            if isinstance(output, wanted.End):
                return output
            answer = await self._do(output)
            if answer is not None:
                self._answers.append(answer)
        return None

    async def _do(self, output: wanted.Output) -> told.Input | None:
        match output:
            case wanted.Check():
                return await self._check()
            case wanted.Start():
                self._nursery.start_soon(self._run_work)
            case wanted.StopWork():
                self._work.cancel()
            case wanted.AwaitSettlement(key):
                self._shop.chains.wake(self._token.chain_id)
                self._nursery.start_soon(self._await_settlement, key)
            case wanted.Send(data):
                return await self._hand_over(data)
            case wanted.AskMore(units):
                await self._keep_tab(tab.Wanted(units))
            case wanted.AwaitRoom(code):
                return told.Room(code)
            case wanted.Replay(charge):
                return await self._hand_over(charge.result.data or b"")
            case _:
                return await self._commit(output)
        return None

    async def _commit(self, output: wanted.Output) -> told.Input | None:
        """What goes to the ledger. Nothing is told as done before it is on disk."""
        ledger, now = self._shop.ledger, self._shop.clock()
        try:
            match output:
                case wanted.LookUp(key):
                    return told.LookedUp(await ledger.row(key))
                case wanted.Reserve(entry, balance):
                    answer = await ledger.reserve(entry, now=now, balance=balance, exposure=self._exposure())
                    if isinstance(answer, Refused):
                        self._detail = answer.detail
                    return told.Answered(answer)
                case wanted.MarkDue(key, amount, result, _):
                    signed = b"" if result is None else self._receipt(result, complete=True)
                    return told.Committed(await ledger.due(key, amount=amount, result=result, receipt=signed, now=now))
                case wanted.Finish(key, result, _):
                    whole = self._given.result() if result is None else result
                    signed = self._receipt(whole, complete=result is not None)
                    return told.Committed(await ledger.finish(key, result=whole, receipt=signed, now=now))
                case wanted.Interrupt(key, _):
                    return told.Committed(await ledger.interrupt(key, now=now))
                case wanted.Grow(key, amount, signature):
                    grown = await ledger.grow(key, amount, signature, now, exposure=self._exposure())
                    if isinstance(grown, Refused):
                        self._detail = grown.detail
                        return told.NotCommitted(grown.code)
                    return told.Committed(grown)
                case wanted.Release(key, reason):
                    return told.Committed(await ledger.release(key, reason, now))
        except OSError as error:
            log.error("charge_not_stored", error=str(error))
            self._detail = "the charge could not be stored"
            return told.NotCommitted(faults.UNEXPECTED_VERIFY)
        return None

    async def _check(self) -> told.Input:
        if not isinstance(self._payment, Verified):
            assert self._late is not None
            self._detail = self._late.detail
            return told.Answered(Refused(self._late.code))  # nothing is known of it
        found = await self._shop.chains.check(self._payment)
        if isinstance(found, Funds):
            return told.Checked(found.balance)
        self._detail = found.detail
        return told.Answered(Refused(found.code, found.detail))

    async def _run_work(self) -> None:
        with self._work:
            self._failure = await self._counter.work()
            if self._failure is not None:
                self._tell(told.Failed(self._failure.code))
            else:
                self._tell(told.Finished(self._made.result(), b""))

    async def _hand_over(self, lines: bytes) -> told.Input | None:
        content = 0
        try:
            with trio.CancelScope() as self._sending:
                for event, data in pieces_of(lines):
                    await self._counter.hand_over(event, data)
                    content += json_size(data)
            if self._sending.cancelled_caught:
                return None  # why is in the queue
        except (HostError, LocalProtocolError, LimitExceededError):
            return told.Gone()
        finally:
            self._sending = None
        self._given.add(lines, content)
        if self._tab is not None:
            await self._keep_tab(tab.Sent(1))
        return None

    # --- a tab --------------------------------------------------------------------------------------------------------
    async def _cost(self) -> int:
        """What must be signed before the next piece leaves; 0 without a tab. Does not return where the tab stops."""
        if self._tab is None:
            return 0
        for answer in self._tab.handle(tab.Produced(1), self._shop.clock() // 1000):
            if isinstance(answer, tab.Cost):
                return answer.units
            self._stop_tab(answer)
        while True:
            await trio.sleep_forever()  # the work is about to be stopped

    async def _keep_tab(self, input_: tab.ProviderInput) -> None:
        """Tell the tab what happened, and do what follows."""
        if self._tab is None:
            return
        for output in self._tab.handle(input_, self._shop.clock() // 1000):
            match output:
                case tab.Ask(number, units, amount, final) if number == 0:
                    try:
                        await self._counter.ask(commands.Due(number, units, amount, final))
                    except (HostError, LocalProtocolError):
                        self._tell(told.Gone())
                case tab.Covered(key, amount, signature):
                    self._tell(told.Raised(key, amount, signature))
                case _:
                    self._stop_tab(output)

    def _stop_tab(self, output: object) -> None:
        """The first anomaly ends it, and so does the cap: one call has one tab."""
        self._detail = output.fault.detail if isinstance(output, tab.Stop) else "the tab is full, or its time is over"
        self._tell(told.Failed(faults.TAB_FAULT))

    async def _tick(self) -> None:
        while True:
            await trio.sleep(TICK_S)
            self._tell(tab.Tick())

    async def _await_settlement(self, key: str) -> None:
        ledger = self._shop.ledger
        with trio.move_on_after(min(SETTLE_PATIENCE_S, max(0.0, self._counter.left_s))):
            while (row := await ledger.row(key)) is not None and row.state not in (State.SETTLED, State.LOST):
                await self._shop.chains.changed(key)
        row = await ledger.row(key)
        assert row is not None  # what is due is never forgotten
        settled = row.state is State.SETTLED
        self._tell(told.Settled(row) if settled else told.Unsettled(row, row.state is State.LOST))

    # --- the payment --------------------------------------------------------------------------------------------------
    def _read(self, paid: events.PaymentOffered) -> Presented | PaymentFault:
        """The payment, checked against what is asked for; or an older one, if it is signed: the ledger knows it."""
        now_s = self._shop.clock() // 1000
        if paid.payment is None:
            assert paid.proof is not None
            return published.verify_proof(paid.proof, self._offers, now_s=now_s)
        found = verify.verify(paid.payment, self._offers, now_s=now_s, context=self._context)
        if isinstance(found, PaymentFault) and found.code in _LATE:
            self._late = found
            shown = verify.identify(paid.payment, self._shop.tokens)
            return found if isinstance(shown, PaymentFault) else shown
        return found

    def _entry(self, payment: Presented) -> Reservation:
        return Reservation(
            key=payment.key,
            agent=self._shop.agent.id,
            peer=self._peer,
            capability=CapabilityName(self._offers[0].capability),
            request=self._context.request,
            authorization=payment.authorization,
            signature=payment.signature,
            tab=payment.scheme == terms.TAB,
            bound=isinstance(payment, Verified) and payment.bound,
        )

    async def _delivery(self, payment: Presented) -> Delivery:
        """How much trust there is. Without a chain nothing settles, so that waiting for it would be for ever: there
        exposure alone is the bound."""
        trust, token = self._shop.trust, payment.token
        if payment.scheme == terms.TAB:
            return Delivery.TAB
        if not self._shop.chains.online(token.chain_id):
            return Delivery.DIRECT
        if isinstance(payment, Verified) and payment.terms.flow == "upfront":
            return Delivery.HELD
        if measured(payment.authorization.value, token.decimals) > trust.hold_above:
            return Delivery.HELD
        sums = await self._shop.ledger.sums(f"{token.network}/{token.address.hex()}", payment.payer)
        stranger = trust.hold_strangers and not sums.settlings
        return Delivery.HELD if stranger or sums.losses else Delivery.DIRECT

    def _exposure(self) -> Exposure:
        trust, decimals = self._shop.trust, self._token.decimals
        if self._shop.chains.online(self._token.chain_id):
            return Exposure(payer=_units(trust.payer, decimals), total=_units(trust.total, decimals))
        offline = _units(trust.offline, decimals)
        return Exposure(payer=offline, total=offline)

    # --- the end ------------------------------------------------------------------------------------------------------
    def _receipt(self, result: Result, *, complete: bool) -> bytes:
        charge = self._gate.charge
        assert charge is not None
        delivered = self._made if complete else self._given
        return whole(
            charge,
            self._token,
            self._opened,
            self._counter,
            result=result,
            output_bytes=delivered.content_bytes,
            units=1 if self._tab is None else delivered.pieces,
            complete=complete,
            issued_at=self._shop.clock() // 1000,
            signer=self._shop.agent.signer,
        ).encode()

    def _refused(self, fault: PaymentFault) -> Closing:
        response = Settlement(network=self._offers[0].token.network, error=fault.code, message=fault.detail)
        return Closing(command=commands.Error(Code.PAYMENT_INVALID, str(fault), response.wire()), outcome=fault.code)

    def _closing(self, end: wanted.End) -> Closing:
        response = self._response(end).wire()
        command: commands.ProviderCommand
        if not end.code:
            command = commands.Done(response)
        elif end.code == "cancelled":
            command = commands.Cancel("the caller gave up")
        else:
            code, message = self._word(end.code)
            command = commands.Error(code, message, response)
        charge = end.charge if end.charged else None
        token = self._token
        return Closing(
            command=command,
            outcome=end.code or "ok",
            key=charge.entry.key if charge else "",
            asset=f"{token.network}/{token.address.hex()}" if charge else "",
            amount=charge.entry.amount if charge else 0,
            units=0 if charge is None else 1 if self._tab is None else self._given.pieces,
        )

    def _word(self, code: str) -> tuple[str, str]:
        """The code of the error frame, and what it says."""
        if self._failure is not None and self._failure.code == code:
            return code, self._failure.message
        if code == faults.SETTLEMENT_PENDING:
            return Code.SETTLEMENT_PENDING, faults.CODES[code]
        if code == faults.IN_PROGRESS:
            return Code.BUSY, faults.CODES[code]
        if code == "output_too_large":
            return Code.OUTPUT_TOO_LARGE, "more output than is held back until it is paid: ask for it as a stream"
        if code in faults.CODES:
            return Code.PAYMENT_INVALID, str(PaymentFault(code, self._detail))
        return Code.INTERNAL, "the provider failed"

    def _response(self, end: wanted.End) -> Settlement:
        charge = end.charge
        if charge is None or not end.charged:
            return Settlement(
                network=self._token.network,
                payer=self._payment.payer,
                error=end.code if end.code in faults.CODES else faults.UNEXPECTED_SETTLE,
                message="nothing was charged" if end.code not in faults.CODES else self._detail,
            )
        online = self._shop.chains.online(self._token.chain_id)
        pending = end.code == faults.SETTLEMENT_PENDING
        return Settlement(
            network=self._token.network,
            payer=charge.entry.authorization.from_,
            transaction=charge.transaction,
            amount=charge.entry.amount,
            error=faults.SETTLEMENT_PENDING if pending else "",
            message="" if online else UNFUNDED,
            receipt=standard(charge, self._shop.agent.signer),
            nexus_receipt=charge.receipt.decode(),
        )


def _units(millionths: int, decimals: int) -> int:
    """Smallest units of a token, rounded down."""
    return millionths * int(10**decimals) // 10**6

"""A sale whose payment was shown: carries out what its gate wants, and tells it what came of it.

    verified payment -> Gate -> ledger | chain | work | stream
                         ^------------------------------'

Everything goes through one queue and one task, in order; what waits (the disk, the chain, the caller) is waited for
there, so that nothing is handed over before what it depends on is committed. The work runs beside it and gives its
output in.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import trio

from nexusd.host.ports import HostError
from nexusd.services.payments.books import Books
from nexusd.services.payments.closings import Ending
from nexusd.services.payments.footing import Footing
from nexusd.services.payments.kept import Kept, pieces_of
from nexusd.services.payments.ports import Funds
from nexusd.services.payments.receipts import whole
from nexusd.services.payments.running_tab import TICK_S, WATCH_S, RunningTab
from nexusd.services.payments.sale_inputs import SaleInputs, Watch, Worked
from nexusd.services.payments.shop import Shop
from nexusd.services.trade import Closing, Counter, Failure, line_of
from nexusd_protocols import limits
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.invoke import events
from nexusd_protocols.invoke.frames import Code
from nexusd_protocols.ndjson import json_size
from nexusd_protocols.payments import faults, tab, terms
from nexusd_protocols.payments import gate_inputs as told
from nexusd_protocols.payments import gate_outputs as wanted
from nexusd_protocols.payments.binding import Context
from nexusd_protocols.payments.charge import Refused, Reservation, Result, State
from nexusd_protocols.payments.gate import Delivery, Gate
from nexusd_protocols.payments.meter import Meter
from nexusd_protocols.payments.tab_gate import TabGate
from nexusd_protocols.payments.tender import Tender
from nexusd_protocols.payments.terms import Unit
from nexusd_protocols.payments.verify import Presented, Verified

SETTLE_PATIENCE_S: Final = 300.0
"""The longest that a call waits for a settlement, of its own payment or of one that makes room; it goes on without."""
ROOM_S: Final = 1.0
"""How often it is tried whether there is room."""
SECOND_S: Final = 1.0
SETTLE_UP_S: Final = 2.0
"""How long a call that fails waits for the signature over what was delivered. Who pays waits five seconds longer than
it said, for the last word."""


class RunningSale:
    """`inputs` is what the sale is told from outside, and tells itself."""

    def __init__(
        self,
        shop: Shop,
        peer: PeerId,
        opened: events.Opened,
        context: Context,
        footing: Footing,
        counter: Counter,
        tender: Tender,
        inputs: SaleInputs,
    ) -> None:
        self._shop = shop
        self._peer = peer
        self._opened = opened
        self._capability = CapabilityName(opened.open.capability)
        self._context = context
        self._footing = footing
        self._counter = counter
        self._payment, self._late = tender.payment, tender.late
        self._stream = opened.open.output_mode == "stream"
        self._inputs = inputs
        self._answers: deque[told.Input] = deque()
        self._work = trio.CancelScope()
        self._sending: trio.CancelScope | None = None
        self._began = trio.Event()
        self._holding = shop.held.of(peer)
        self._made = Kept()
        self._given = Kept()
        self._worked: Worked | None = None
        """How the work ended, as long as it is not settled up."""
        self._hurried = False
        """It was waited for long enough."""
        self._failure: Failure | None = None
        self._detail = ""
        self._answering = False
        self._crowded_until: float | None = None
        self._tab: RunningTab | None = None
        self._meter = Meter("request", 1)
        self._books = Books(
            shop.ledger,
            shop.clock,
            lambda: footing.exposure,
            self._receipt,
            lambda: counter.whole_input,
            self._wake,
        )
        self._gate = self._new_gate(tender.payment)

    # --- for the call -------------------------------------------------------------------------------------------------
    def began(self) -> None:
        """See `trade.Sale`."""
        self._began.set()

    @property
    def unit(self) -> str:
        """See `trade.Sale`."""
        return "" if self._tab is None else self._tab.terms.unit

    async def produce(self, event: str, data: Any, size: int, units: int | None) -> None:
        """See `trade.Sale`."""
        for piece in self._meter.pieces(data, size, units):
            line = line_of(event, piece.data)
            self._made.add(line, piece.size)
            await self._produce(line, piece.units)

    async def count(self, units: int) -> None:
        """See `trade.Sale`."""
        for step in self._meter.rest(units):
            await self._produce(b"", step)

    def stop_sending(self) -> None:
        """The call is broken off: what is being handed over is not waited for."""
        if self._sending is not None:
            self._sending.cancel()

    def fail(self, failed: told.Failed) -> None:
        """This side ends the call. Of a tab, what was delivered is settled up first."""
        if self._tab is None:
            self._inputs.tell(failed)
        elif self._worked is None:
            self._work.cancel()
            self._inputs.tell(Worked(failed))

    def _wake(self) -> None:
        """Something is due."""
        self._shop.chains.wake(self._footing.token.chain_id)

    # --- the task -----------------------------------------------------------------------------------------------------
    async def see_through(self) -> Closing:
        """To the end of the call."""
        try:
            end = await self._see_through()
        finally:
            self._holding.set(0)
            self._footing.ended(self._gate.unpaid if isinstance(self._gate, TabGate) else 0)
        if end.charged:
            self._wake()
        return self._ending(end).closing()

    async def _see_through(self) -> wanted.End:
        end: wanted.End | None = None
        async with trio.open_nursery() as self._nursery:
            if self._tab is not None:
                self._nursery.start_soon(self._repeat, tab.Tick(), TICK_S)
                self._nursery.start_soon(self._repeat, Watch(), WATCH_S)
            todo = self._gate.open()
            while end is None:
                end = await self._carry_out(todo)
                if end is None:
                    todo = await self._next()
            self._work.cancel()
            self._nursery.cancel_scope.cancel()
        assert end is not None
        return end

    def _new_gate(self, payment: Presented) -> Gate:
        entry = self._entry(payment, 0)
        if payment.scheme != terms.TAB:
            held = self._footing.held
            most = limits.INVOKE_WINDOW_BYTES if self._stream and not held else limits.PAYMENT_HELD_BYTES
            delivery = Delivery.HELD if held else Delivery.DIRECT
            return Gate(entry, delivery, stream=self._stream, max_held=most)
        if not isinstance(payment, Verified):
            return TabGate(entry, lambda _amount: 0)  # of an earlier call, if of any
        self._tab = RunningTab(
            payment,
            self._context,
            self._counter,
            self._shop.chains,
            entry=self._entry,
            row=self._shop.ledger.row,
            tell=self._hear,
        )
        self._meter = Meter(payment.terms.unit, self._tab.largest)
        return TabGate(entry, payment.terms.units)

    async def _next(self) -> list[wanted.Output]:
        """What follows from the next thing that happened; what answers the gate comes first."""
        if self._answers:
            return self._handle(self._answers.popleft())
        if self._worked is not None and (last := await self._settled_up(self._worked)):
            self._worked = None
            return self._handle(last)
        input_, taken = await self._inputs.next()
        outputs: list[wanted.Output] = []
        match input_:
            case Worked():
                self._worked = input_
                if input_.failed is not None:
                    self._nursery.start_soon(self._hurry)
            case told.Gone() if self._worked is not None and not self._gate.holds:
                # it has had all of it: but for the last word on the price
                outputs, self._worked = self._handle(self._end_of(self._worked)), None
            case Watch() | tab.Tick() | events.TabGrown() | events.TabOpened() | events.TabExhausted():
                await self._keep_tab(input_)
            case _:
                outputs = self._handle(input_)
        if taken is not None:
            taken.set()
        self._inputs.move()
        return outputs

    def _handle(self, input_: told.Input) -> list[wanted.Output]:
        outputs = self._gate.handle(input_, self._shop.clock())
        self._holding.set(self._gate.held_bytes)
        self._inputs.move()
        return outputs

    async def _settled_up(self, worked: Worked) -> told.Finished | told.Failed | None:
        """The end of the work, once all of it has gone and what is signed is what was delivered; until then None."""
        if self._tab is not None:
            if self._hurried:
                return self._end_of(worked)
            waits = self._gate.holds and worked.failed is None  # of failed work nothing more goes
            if waits or self._inputs or self._tab.asking:
                return None
            await self._tab.handle(tab.Finished(), self._now_s())
            if self._tab.asking or self._inputs:
                return None
        return self._end_of(worked)

    def _end_of(self, worked: Worked) -> told.Finished | told.Failed:
        return worked.failed or told.Finished(self._made.result())

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
            case wanted.Check(key):
                return await self._check(key)
            case wanted.Start():
                self._nursery.start_soon(self._run_work)
            case wanted.StopWork():
                self._work.cancel()
            case wanted.AwaitSettlement(key):
                self._wake()
                self._nursery.start_soon(self._await_settlement, key)
            case wanted.AwaitRoom(code):
                self._wake()
                self._nursery.start_soon(self._await_room, code)
            case wanted.Send(data, units):
                return await self._hand_over(data, units)
            case wanted.AskMore(units) if self._tab is not None:
                await self._tab.handle(tab.Wanted(units), self._now_s())
            case wanted.Replay(charge):
                return await self._hand_over(charge.result.data or b"", 0)
            case _:
                return await self._books.commit(output)
        return None

    async def _check(self, key: str) -> told.Input:
        payment = self._payment if self._tab is None else self._tab.payments[key]
        if not isinstance(payment, Verified):
            assert self._late is not None
            self._detail = self._late.detail
            return told.Answered(Refused(self._late.code))  # nothing is known of it
        found = await self._shop.chains.check(payment)
        if isinstance(found, Funds):
            return told.Checked(found.balance)
        row = await self._shop.ledger.row(key)
        if row is not None and row.state is not State.RELEASED:
            return told.Checked(0)  # shown twice at once, and the other was settled meanwhile: it is known, or refused
        self._detail = found.detail
        return told.Answered(Refused(found.code, found.detail))

    # --- the work -----------------------------------------------------------------------------------------------------
    async def _run_work(self) -> None:
        with self._work:
            if not await self._is_same_input():
                self._detail = "it was shown with another input"
                self._inputs.tell(told.Failed(faults.USED))
                return
            async with trio.open_nursery() as nursery:
                if self._tab is not None and self._tab.terms.unit == "second":
                    nursery.start_soon(self._count_seconds)
                self._failure = await self._counter.work()
                nursery.cancel_scope.cancel()
            if self._failure is not None:
                # who bounds the output, or does not take it, has had what it paid for
                not_taken = self._sending is not None
                failed = told.Failed(self._failure.code, not_taken or self._failure.code == Code.OUTPUT_TOO_LARGE)
                self._inputs.tell(failed if not_taken or self._tab is None else Worked(failed))
                return
            await self.count(0)
            self._inputs.tell(Worked())

    async def _is_same_input(self) -> bool:
        """Whether it is what was worked on before, where the work is done again and costs nothing."""
        charge = self._gate.charge
        if charge is None or charge.entry.tab or charge.state is State.RESERVED:
            return True
        return await self._counter.take_input() == charge.input

    async def _count_seconds(self) -> None:
        """A second counts once it is over, and the next begins when it is paid for: nobody pays for our waiting."""
        assert self._tab is not None
        await self._began.wait()
        while True:
            await trio.sleep(SECOND_S)
            until = self._tab.delivered + 1
            await self._produce(b"", 1)
            while self._tab.delivered < until:
                await self._inputs.moved()

    async def _produce(self, line: bytes, units: int) -> None:
        await self._hold_back()
        if self._holding.full and not self._gate.streams:  # it goes as a whole, and so makes no room itself
            self._failure = Failure(Code.BUSY, "too much waits to be paid or settled; try again later")
            self._inputs.tell(told.Failed(Code.BUSY))
            await trio.sleep_forever()
        cost = 0 if self._tab is None else self._tab.produced(units, self._now_s())
        if cost is None:
            await trio.sleep_forever()  # the tab stops, and so is the work about to
        await self._inputs.tell_and_wait(told.Produced(line, cost, units))
        await self._hold_back()

    async def _hold_back(self) -> None:
        """While as much waits at the gate as may."""
        while self._gate.streams and (self._gate.paused or (self._holding.full and self._gate.holds)):
            await self._inputs.moved()

    async def _hand_over(self, lines: bytes, units: int) -> told.Input | None:
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
        if lines:
            self._given.add(lines, content)
            self._crowded_until = None
        if self._tab is not None:
            await self._tab.handle(tab.Sent(units), self._now_s())
            self._inputs.move()
        return None

    def _hear(self, input_: told.Input) -> None:
        """What the tab says. What it says to an answer comes before all that came behind that answer."""
        if self._answering:
            self._answers.append(input_)
        else:
            self._inputs.tell(input_)

    # --- what is waited for -------------------------------------------------------------------------------------------
    async def _keep_tab(self, input_: events.TabAnswer | tab.Tick | Watch) -> None:
        if self._tab is None:
            return
        match input_:
            case Watch():
                await self._tab.watch()
            case tab.Tick():
                await self._tab.handle(input_, self._now_s())
            case _:
                self._answering = True
                try:
                    await self._tab.answered(input_, self._now_s())
                finally:
                    self._answering = False

    async def _hurry(self) -> None:
        await trio.sleep(SETTLE_UP_S)
        self._hurried = True
        self._inputs.tell(tab.Tick())

    async def _repeat(self, input_: tab.Tick | Watch, every_s: float) -> None:
        while True:
            await trio.sleep(every_s)
            await self._inputs.tell_and_wait(input_)

    async def _await_settlement(self, key: str) -> None:
        ledger = self._shop.ledger
        with trio.move_on_after(min(SETTLE_PATIENCE_S, max(0.0, self._counter.left_s))):
            while (row := await ledger.row(key)) is not None and row.state not in (State.SETTLED, State.LOST):
                await self._shop.chains.changed(key)
        row = await ledger.row(key)
        assert row is not None  # what is due is never forgotten
        settled = row.state is State.SETTLED
        self._inputs.tell(told.Settled(row) if settled else told.Unsettled(row, row.state is State.LOST))

    async def _await_room(self, code: str) -> None:
        """Until there may be room: what is shut is being settled. Where nobody settles there is none."""
        now = trio.current_time()
        if self._crowded_until is None:
            self._crowded_until = now + min(SETTLE_PATIENCE_S, self._counter.left_s)
        if not self._footing.online or now >= self._crowded_until:
            self._work.cancel()
            self._inputs.tell(Worked(told.Failed(code)))
            return
        with trio.move_on_after(ROOM_S):
            assert isinstance(self._gate, TabGate)
            *shut, newest = self._gate.charges
            await self._shop.chains.changed((shut or [newest])[-1].entry.key)
        if code == faults.INSUFFICIENT_FUNDS:  # what was settled is gone from the balance, too
            await self._inputs.tell_and_wait(Watch())
        self._inputs.tell(told.Room())

    # --- what is known of it ------------------------------------------------------------------------------------------
    def _entry(self, payment: Presented, number: int) -> Reservation:
        return Reservation(
            key=payment.key,
            agent=self._shop.agent.id,
            peer=self._peer,
            capability=self._capability,
            request=self._context.request,
            authorization=payment.authorization,
            signature=payment.signature,
            tab=payment.scheme == terms.TAB,
            number=number,
        )

    def _now_s(self) -> int:
        return self._shop.clock() // 1000

    @property
    def _used(self) -> tuple[int, Unit]:
        """What was delivered."""
        return (1, "request") if self._tab is None else (self._tab.delivered, self._tab.terms.unit)

    # --- the end ------------------------------------------------------------------------------------------------------
    def _receipt(self, result: Result | None) -> tuple[Result, bytes]:
        gate = self._gate
        assert gate.charge is not None
        delivered = self._given if result is None else self._made
        result = delivered.result() if result is None else result
        units, unit = self._used
        receipt = whole(
            gate.charges if isinstance(gate, TabGate) else (gate.charge,),
            self._footing.token,
            self._opened,
            self._counter,
            result=result,
            output_bytes=delivered.content_bytes,
            units=units,
            unit=unit,
            complete=delivered is self._made,
            issued_at=self._now_s(),
            signer=self._shop.agent.signer,
        )
        return result, receipt.encode()

    def _ending(self, end: wanted.End) -> Ending:
        units, unit = self._used
        return Ending(
            end=end,
            payer=self._payment.payer,
            token=self._footing.token,
            signer=self._shop.agent.signer,
            online=self._footing.online,
            units=units,
            unit=unit,
            failure=self._failure,
            detail=(self._tab.detail if self._tab is not None else "") or self._detail or self._books.detail,
        )

"""A sale's entries in the ledger: what its gate wants committed, and the gate's input that says that it is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Final

import structlog

from nexusd.services.ports import WallClock
from nexusd.store.ledger import Ledger
from nexusd_protocols.payments import faults
from nexusd_protocols.payments import gate_inputs as told
from nexusd_protocols.payments import gate_outputs as wanted
from nexusd_protocols.payments.charge import OWED, Exposure, Known, Refused, Reserved, Result, State, same_call

log = structlog.get_logger(__name__)

Receipt = Callable[[Result | None], tuple[Result, bytes]]
"""The receipt of a result; of None that of what was handed over until now, which is told with it."""


class Books:
    """Writes for one sale. Nothing is told as done before it is on disk."""

    def __init__(
        self,
        ledger: Ledger,
        clock: WallClock,
        exposure: Callable[[], Exposure],
        receipt: Receipt,
        whole_input: Callable[[], bytes],
        rolled: Callable[[], None],
    ) -> None:
        """`whole_input` as in `trade.Counter`. `rolled` is told when a tab was shut, and so is due."""
        self.detail = ""
        """Why the ledger refused."""
        self._ledger: Final = ledger
        self._clock = clock
        self._exposure = exposure
        self._receipt = receipt
        self._whole_input = whole_input
        self._rolled = rolled

    async def commit(self, output: wanted.Output) -> told.Input | None:
        """Do it."""
        try:
            return await self._commit(output, self._clock())
        except OSError as error:
            log.error("charge_not_stored", error=str(error))
            self.detail = "the charge could not be stored"
            return told.NotCommitted(faults.UNEXPECTED_VERIFY)

    async def _commit(self, output: wanted.Output, now: int) -> told.Input | None:
        ledger = self._ledger
        match output:
            case wanted.LookUp(key):
                return await self._look_up(key)
            case wanted.Reserve(entry, balance):
                answer = await ledger.reserve(entry, now=now, balance=balance, exposure=self._exposure())
                return self._answered(answer)
            case wanted.Roll(key, entry, balance):
                answer = await ledger.roll(key, entry, now=now, balance=balance, exposure=self._exposure())
                self._rolled()
                return self._answered(answer)
            case wanted.MarkDue(key, amount, result):
                receipt = b"" if result is None else self._receipt(result)[1]
                taken = self._whole_input()
                row = await ledger.due(key, amount=amount, result=result, receipt=receipt, now=now, input_=taken)
                return told.Committed(row)
            case wanted.Finish(key, result, last, unused):
                whole, receipt = self._receipt(result)
                row = await ledger.finish(key, result=whole, receipt=receipt, now=now, last=last, unused=unused)
                return told.Committed(row)
            case wanted.Interrupt(key):
                return told.Committed(await ledger.interrupt(key, now=now))
            case wanted.Grow(key, amount, signature, balance):
                grown = await ledger.grow(key, amount, signature, now, balance=balance, exposure=self._exposure())
                return self._answered(grown) if isinstance(grown, Refused) else told.Committed(grown)
            case wanted.Lower(key, amount, signature):
                return told.Committed(await ledger.lower(key, amount, signature, now))
            case wanted.Release(key, reason):
                return told.Committed(await ledger.release(key, reason, now))
        return None

    async def _look_up(self, key: str) -> told.LookedUp:
        row = await self._ledger.row(key)
        if row is None or not row.entry.tab or row.entry.number or row.state not in OWED:
            return told.LookedUp(row)
        called = await self._ledger.of_call(row.entry.request)
        behind = sorted((each for each in called if each.position > row.position), key=lambda each: each.position)
        # the same request may have been paid for again, beginning with a first tab
        further = takewhile(lambda each: each.entry.number and same_call(each.entry, row.entry), behind)
        return told.LookedUp(row, tuple(each for each in further if each.state is not State.RELEASED))

    def _answered(self, answer: Reserved | Known | Refused) -> told.Answered:
        if isinstance(answer, Refused):
            self.detail = answer.detail
        return told.Answered(answer)

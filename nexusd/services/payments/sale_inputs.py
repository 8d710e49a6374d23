"""What a sale is told: what its gate is, and what concerns its tab."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import trio

from nexusd_protocols.invoke import events
from nexusd_protocols.payments import gate_inputs, tab


@dataclass(frozen=True, slots=True)
class Worked:
    """The work ended, well or, through our fault, not; what was delivered is settled up before the call ends."""

    failed: gate_inputs.Failed | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """It is time to look at the chain."""


SaleInput = gate_inputs.Input | events.TabAnswer | tab.Tick | Worked | Watch


class SaleInputs:
    """What a sale is told, in order, by whoever knows. Told before it runs, it waits."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[SaleInput, trio.Event | None]] = deque()
        self._moved = trio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def tell(self, input_: SaleInput, taken: trio.Event | None = None) -> None:
        """`taken` is set when it was handled."""
        self._waiting.append((input_, taken))
        self.move()

    async def tell_and_wait(self, input_: SaleInput) -> None:
        """Until it was handled."""
        taken = trio.Event()
        self.tell(input_, taken)
        await taken.wait()

    async def next(self) -> tuple[SaleInput, trio.Event | None]:
        """The first that was not taken yet."""
        while not self._waiting:
            await self._moved.wait()
        return self._waiting.popleft()

    def move(self) -> None:
        """Wake whoever waits for something to change."""
        self._moved.set()
        self._moved = trio.Event()

    async def moved(self) -> None:
        """Wait until something changes."""
        await self._moved.wait()

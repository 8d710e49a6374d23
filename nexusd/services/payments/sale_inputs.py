"""What a sale is told: what its gate is, and what concerns its tab."""

from __future__ import annotations

from dataclasses import dataclass

from nexusd_protocols.invoke import events
from nexusd_protocols.payments import gate_inputs, tab


@dataclass(frozen=True, slots=True)
class Worked:
    """The work ended well; what was not paid for yet is to be asked for before the call ends."""


@dataclass(frozen=True, slots=True)
class Watch:
    """It is time to look at the chain."""


SaleInput = gate_inputs.Input | events.TabAnswer | tab.Tick | Worked | Watch

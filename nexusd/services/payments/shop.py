"""What all sales of an agent have in common."""

from __future__ import annotations

from dataclasses import dataclass

from nexusd.agents import Agent
from nexusd.services.payments.credit import Credits
from nexusd.services.payments.held import Held
from nexusd.services.payments.ports import Chains
from nexusd.services.payments.trust import Payers, Trust
from nexusd.services.ports import WallClock
from nexusd.store.ledger import Ledger
from nexusd_protocols.payments.tokens import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """Whose it is, what it writes in, whom it asks, and what it risks."""

    agent: Agent
    ledger: Ledger
    chains: Chains
    tokens: Tokens
    trust: Trust
    payers: Payers
    clock: WallClock
    held: Held
    credits: Credits

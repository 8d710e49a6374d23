"""How far this node trusts whoever pays it: four levels, and what each may have before its payments are settled.

    offender  took a payment back, until a person clears it: no tab, and no output before it is settled
    stranger  nobody knows it
    known     a person named it or wrote to it, it is on the list of those that may be here, or settled often enough
    trusted   the configuration says so

A level is the peer's, since terms are stated before an account is shown; what was taken back stands against both. What
was settled counts in its own token alone: payments on a test network cost nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from nexusd.store.ledger import Standings
from nexusd_protocols.identity import PeerId
from nexusd_protocols.payments import money
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.charge import Exposure
from nexusd_protocols.payments.terms import PriceTerms
from nexusd_protocols.payments.tokens import Token


class Level(enum.StrEnum):
    """Of a payer."""

    OFFENDER = "offender"
    STRANGER = "stranger"
    KNOWN = "known"
    TRUSTED = "trusted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a level may have, in millionths of a whole token: `tab` in one tab, `exposure` in all that is owed and not
    settled."""

    tab: int
    exposure: int


NOTHING: Final = Allowance(tab=0, exposure=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What this node risks as a provider. Amounts are in millionths of a whole token.

    Of what one payer may owe its level decides; `total` bounds what all may, `offline` both, where no chain is asked.
    Above `hold_above`, and with `hold_strangers` for whoever is a stranger, output waits for the settlement.
    `known_after` is how many settled payments make a stranger known. `accept_unbound`: take authorisations that do not
    name the request, as stock clients make them.
    """

    stranger: Allowance = Allowance(tab=50_000, exposure=500_000)
    known: Allowance = Allowance(tab=1_000_000, exposure=5_000_000)
    trusted: Allowance = Allowance(tab=5_000_000, exposure=20_000_000)
    total: int = 50_000_000
    offline: int = 100_000
    hold_above: int = 1_000_000
    hold_strangers: bool = True
    accept_unbound: bool = False
    known_after: int = 3
    trusted_peers: Collection[str] = field(default_factory=frozenset)

    def allowance(self, level: Level, *, online: bool) -> Allowance:
        """What a level may have, where a chain is asked and where none is."""
        match level:
            case Level.OFFENDER:
                return NOTHING
            case Level.STRANGER:
                found = self.stranger
            case Level.KNOWN:
                found = self.known
            case Level.TRUSTED:
                found = self.trusted
        if online:
            return found
        return Allowance(tab=min(found.tab, self.offline), exposure=self.offline)

    def exposure(self, level: Level, token: Token, *, online: bool, held: bool) -> Exposure:
        """What a payer, and all, may owe in a token. Output that is held until it is settled risks work alone: there
        a stranger, and an offender, is as good as anybody known."""
        allowed = self.allowance(Level.KNOWN if held and level is not Level.TRUSTED else level, online=online)
        total = self.total if online else self.offline
        return Exposure(payer=units(allowed.exposure, token), total=units(total, token))

    def offers(
        self, level: Level, offers: Iterable[PriceTerms], online: Callable[[int], bool], on_credit: int = 0
    ) -> list[PriceTerms]:
        """What a payer is offered of what is for sale: tabs as large as it is trusted with, and none that would not
        hold two units. Who is known pays behind what it gets, and to the unit, as long as what it has `on_credit`
        (millionths, see `Credits.of`) leaves room in one such tab; anybody else pays ahead."""
        found: list[PriceTerms] = []
        for terms in offers:
            connected = online(terms.token.chain_id)
            if level is Level.OFFENDER and (terms.flow == "tab" or not connected):
                continue  # what is held back until it is settled is all that it may have
            if terms.flow != "tab":
                found.append(terms)
                continue
            tab = units(self.allowance(level, online=connected).tab, terms.token)
            room = 0 if level is Level.STRANGER else tab - units(on_credit, terms.token)
            found += _fitted(terms, min(terms.amount, tab), room)
        return found


def _fitted(terms: PriceTerms, cap: int, room: int) -> list[PriceTerms]:
    """A tab of at most that; none, where it would not hold two units. Most of what both sides risk is the provider's,
    if there is `room` for so much credit."""
    unit = terms.cost(1)
    if cap < 2 * unit:
        return []
    ahead = min(terms.ahead, cap)
    credit = max(unit, ahead - unit)
    if credit > room:
        return [replace(terms, amount=cap, ahead=ahead, credit=0)]
    return [replace(terms, amount=cap, ahead=unit, credit=credit)]


def units(millionths: int, token: Token) -> int:
    """Smallest units of a token, rounded down."""
    return millionths * int(10**token.decimals) // int(10**money.LIMIT_DECIMALS)


Acquainted = Callable[[PeerId], bool]
"""Whether a person here knows a peer: named it, wrote to it, or put it on a list."""


class Payers:
    """The levels of those that pay."""

    def __init__(self, trust: Trust, standings: Standings, acquainted: Acquainted = lambda _peer: False) -> None:
        self._trust = trust
        self._standings = standings
        self._acquainted = acquainted

    async def level(self, peer: PeerId, payer: Address | None = None, token: Token | None = None) -> Level:
        """Of a peer; with the account that it pays from, where that is known. For payments in a token; without one,
        the highest of all tokens."""
        trust = self._trust
        asset = None if token is None else token.asset_id
        record = await self._standings.record(peer, payer, max(1, trust.known_after), asset)
        if record.offended:
            return Level.OFFENDER
        if peer in trust.trusted_peers:
            return Level.TRUSTED
        known = self._acquainted(peer) or record.settled >= max(1, trust.known_after)
        return Level.KNOWN if known else Level.STRANGER

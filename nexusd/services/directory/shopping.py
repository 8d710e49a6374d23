"""Providers of a capability: who offers it, who takes calls now, and who is best."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

import trio

from nexusd.host.ports import HostError
from nexusd.services.directory.finder import CANDIDATES, Finder, Published, of_each
from nexusd.services.directory.ports import Ask, Surroundings
from nexusd.services.prices import stated_price
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.payments.advertised import Price, rate
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.pointer.documents import CapabilityDocument
from nexusd_protocols.pointer.keys import Key
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import Capability, CapabilityFound, CapabilityList, FoundProvider, PriceView

UNREACHABLE: Final = ("unreachable", "timeout", "connection_lost")
"""Codes of refusals that say nothing of the capability."""

REMEMBERED: Final = 4096
"""Prices that were seen."""

Fate = Literal["confirmed", "unconfirmed", "unreachable", "unavailable", "unproven", "withdrawn"]


@dataclass(frozen=True, slots=True)
class _Seen:
    """One candidate: what it published, what it answered, and what follows."""

    fate: Fate
    published: Published[CapabilityDocument]
    row: Capability | None = None


class Shopping:
    """Finds and compares."""

    def __init__(self, *, own: PeerId, finder: Finder, ask: Ask, around: Surroundings, tokens: Tokens) -> None:
        self._own = own
        self._finder = finder
        self._ask = ask
        self._around = around
        self._tokens = tokens
        self._prices: OrderedDict[tuple[PeerId, str], Sequence[Price]] = OrderedDict()

    def advertised(self, peer: PeerId, name: str) -> Sequence[Price]:
        """The prices in the last document that was read of that provider's; none where none was, or it named none."""
        return self._prices.get((peer, name), ())

    def _remember(self, peer: PeerId, name: str, prices: Sequence[Price]) -> None:
        self._prices.pop((peer, name), None)
        if prices:
            self._prices[peer, name] = prices
            while len(self._prices) > REMEMBERED:
                self._prices.popitem(last=False)

    async def find(self, name: CapabilityName, limit: int, own: bool) -> CapabilityFound:
        """Best first. `own`: this node offers it too. Raises HostError if nobody could be asked."""
        told = await self._finder.issuers("capability-pointer", name)
        heard = [peer for peer in self._around.heard(name) if peer not in told][:CANDIDATES]
        candidates = [*([self._own] if own else []), *told, *heard]

        async def look(peer: PeerId) -> _Seen:
            return await self._look(name, peer, peer in heard)

        candidates = [peer for peer in candidates if peer == self._own or self._around.allows(peer)]
        seen = await of_each(candidates, look)
        providers = [self._view(peer, each, peer in heard) for peer, each in seen.items() if _is_offered(each)]
        return CapabilityFound(
            name=name,
            providers=sorted(providers, key=_merit)[:limit],
            unreachable=_count(seen, "unreachable") + len(candidates) - len(seen),
            unavailable=_count(seen, "unavailable"),
            unproven=_count(seen, "unproven"),
        )

    async def _look(self, name: CapabilityName, peer: PeerId, heard: bool) -> _Seen:
        published = await self._pointer(name, peer)
        if published.withdrawn:
            return _Seen("withdrawn", published)
        answers: list[CapabilityList | Refusal] = []

        async def ask() -> None:
            answers.append(await self._ask(peer))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            if published.pointer is not None:
                published = await self._finder.document(CapabilityDocument, published.pointer, [])
        if published.document is not None:
            self._remember(peer, name, published.document.asked)
        (answer,) = answers
        if isinstance(answer, Refusal):
            return _Seen("unreachable" if answer.code in UNREACHABLE else "unavailable", published)
        if not answer.answered:
            return _Seen("unconfirmed" if heard or published.pointer is not None else "unproven", published)
        row = next((row for row in answer.capabilities if row.name == name), None)
        if row is None or not row.available:
            return _Seen("unavailable", published)
        return _Seen("confirmed", published, row)

    async def _pointer(self, name: CapabilityName, peer: PeerId) -> Published[CapabilityDocument]:
        try:
            found = await self._finder.pointer(Key("capability-pointer", peer, name))
            return Published(found.pointer, withdrawn=found.withdrawn, missing=found.missing)
        except HostError as error:
            return Published(missing=str(error))

    def _view(self, peer: PeerId, seen: _Seen, heard: bool) -> FoundProvider:
        said, row = seen.published.document, seen.row
        asked = () if said is None else said.asked
        return FoundProvider(
            peer_id=peer,
            name=self._around.name_of(peer),
            connected=peer == self._own or peer in self._around.connected(),
            here=peer == self._own,
            confirmed=seen.fate == "confirmed",
            free=_free(said, row),
            prices=[stated_price(each, self._tokens) for each in asked] or (row.prices if row else []),
            pricing="" if said is None else said.pricing,
            description=(row.description if row else "") or (said.description if said else ""),
            streaming=row.streaming if row else (said.streaming if said else None),
            max_input_bytes=row.max_input_bytes if row else (said.limits.max_input_bytes if said else None),
            max_duration_ms=None if said is None else said.limits.max_duration_ms,
            max_concurrent=None if said is None else said.limits.max_concurrent,
            rate_limit="" if said is None else said.rate_limit,
            queue_ms=row.queue_ms if row else None,
            pointer=seen.published.shown,
            source="presence" if heard and seen.published.pointer is None else "pointer",
        )


def _is_offered(seen: _Seen) -> bool:
    return seen.fate in ("confirmed", "unconfirmed")


def _cost(price: PriceView) -> tuple[bool, str, str, Fraction]:
    """Prices in different currencies cannot be compared: the currency comes before the amount, too."""
    unit, each = rate("" if price.unit == "call" else price.unit, Fraction(price.amount), price.per)
    return not price.known, unit, price.asset, each


def _count(seen: dict[PeerId, _Seen], fate: Fate) -> int:
    return sum(each.fate == fate for each in seen.values())


def _free(said: CapabilityDocument | None, row: Capability | None) -> bool | None:
    """Free only if nobody says otherwise: a document of yesterday, and the answer of a moment ago, may differ."""
    words = [word for word in (said and said.price is None, row and row.free) if word is not None]
    return all(words) if words else None


def _merit(provider: FoundProvider) -> tuple[object, ...]:
    """Smaller is better: the cheapest of its prices counts."""
    cost = (0,) if provider.free else (1, *min(map(_cost, provider.prices))) if provider.prices else (2,)
    issued = provider.pointer.issued_at if provider.pointer else 0
    return not provider.confirmed, cost, provider.queue_ms or 0, -issued, provider.peer_id

"""What this node's capabilities cost, and the sales of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from nexusd.agents import Agent
from nexusd.services.payments.credit import Credits
from nexusd.services.payments.held import Held
from nexusd.services.payments.ports import Chains
from nexusd.services.payments.sale import Sale
from nexusd.services.payments.shop import Shop
from nexusd.services.payments.trust import Payers, Trust, units
from nexusd.services.ports import WallClock
from nexusd.services.prices import terms_unit
from nexusd.services.trade import Offers
from nexusd.store.ledger import Ledger
from nexusd_protocols import limits
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.invoke import events
from nexusd_protocols.payments.address import Address, checksummed, parse_address
from nexusd_protocols.payments.tab import AHEAD
from nexusd_protocols.payments.terms import Binding, PriceTerms
from nexusd_protocols.payments.tokens import Token, Tokens, network_name, parse_network
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import PriceSpec

WINDOW_S: Final = 600
"""The longest window that is asked for: what payers allow unless they say otherwise."""

FREE: Final = "0"
"""The amount of what costs nothing, however it was written."""


class Till:
    """See `trade.Till`."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        chains: Chains,
        tokens: Tokens,
        trust: Trust,
        payers: Payers,
        clock: WallClock,
        wallet: Callable[[], Address | None],
    ) -> None:
        self._ledger = ledger
        self._chains = chains
        self._tokens = tokens
        self._trust = trust
        self._payers = payers
        self._clock = clock
        self._wallet = wallet
        self._held = Held()
        self.credits: Final = Credits()

    async def prices(
        self, name: CapabilityName, specs: Sequence[PriceSpec], timeout_ms: int
    ) -> list[PriceSpec] | Refusal:
        """See `trade.Till`."""
        full: list[PriceSpec] = []
        for spec in specs:
            price = self._price(name, spec, timeout_ms)
            if isinstance(price, Refusal):
                return price
            twice = any(_place(price) == _place(each) for each in full)
            if twice:
                how = f"a {price.unit} in " if price.tab else ""
                return Refusal("invalid_params", f"There are two prices for {how}{price.asset} on {price.network}")
            full.append(price)
        if len(full) > 1 and any(each.amount == FREE for each in full):
            return Refusal("invalid_params", "What costs nothing has no other price")
        return full

    def _price(self, name: CapabilityName, spec: PriceSpec, timeout_ms: int) -> PriceSpec | Refusal:
        token = self._token(spec)
        if isinstance(token, Refusal):
            return token
        try:
            amount = token.parse(spec.amount)
        except ValueError as error:
            return Refusal("invalid_params", str(error))
        if amount == 0:
            if spec.tab or spec.cap is not None or spec.pay_to is not None:
                return Refusal("invalid_params", "What costs nothing has no tab, and nobody to pay to")
            return msgspec.structs.replace(spec, amount=FREE, network=network_name(token.chain_id), asset=token.symbol)
        own = self._wallet()
        if spec.pay_to is None and own is None:
            return Refusal("no_wallet", "There is no wallet to pay to, and no other address was named (`--pay-to`)")
        if self._chains.online(token.chain_id) and own is None:
            return Refusal("no_wallet", "Settling payments takes gas, which the wallet pays")
        try:
            pay_to = own if spec.pay_to is None else parse_address(spec.pay_to)
            assert pay_to is not None
        except ValueError as error:
            return Refusal("invalid_params", str(error))
        if not spec.tab and (spec.cap is not None or (spec.unit, spec.per) != ("piece", 1)):
            return Refusal("invalid_params", "Only a tab has a cap, and counts units")
        full = msgspec.structs.replace(
            spec, network=network_name(token.chain_id), asset=token.symbol, pay_to=checksummed(pay_to)
        )
        try:
            terms = self._terms(name, full, timeout_ms)
        except ValueError as error:
            return Refusal("invalid_params", str(error))
        return self._never_paid(terms) or full

    def _never_paid(self, terms: PriceTerms) -> Refusal | None:
        """Why nobody could ever buy for that."""
        token, most = terms.token, units(self._trust.offline, terms.token)
        if terms.flow == "tab" or terms.amount <= most or self._chains.online(token.chain_id):
            return None
        return Refusal(
            "refused",
            f"No node of {network_name(token.chain_id)} is in rpc_urls: what is paid there is not funded, and at most"
            f" {token.show(most)} of it is taken (exposure_offline)",
        )

    def offers(self, name: CapabilityName, specs: Sequence[PriceSpec], timeout_ms: int) -> Offers:
        """See `trade.Till`."""
        return tuple(self._terms(name, spec, timeout_ms) for spec in specs if spec.amount != FREE)

    def unable(self, offers: Offers) -> str:
        """See `trade.Till`."""
        why = {offer.token.chain_id: self._chains.unable(offer.token.chain_id) for offer in offers}
        if not all(why.values()):
            return ""
        return "; ".join(f"{network_name(chain_id)}: {words}" for chain_id, words in why.items())

    def _terms(self, name: CapabilityName, spec: PriceSpec, timeout_ms: int) -> PriceTerms:
        token = self._token(spec)
        if isinstance(token, Refusal) or spec.pay_to is None:
            raise ValueError("a price in a token that is not known here, or for nobody")
        price, pay_to = token.parse(spec.amount), parse_address(spec.pay_to)
        binding: Binding = "optional" if self._trust.accept_unbound else "required"
        if not spec.tab:
            window_s = min(WINDOW_S, -(-timeout_ms // 1000) + limits.PAYMENT_SETTLING_S)
            return PriceTerms(
                capability=name,
                token=token,
                pay_to=pay_to,
                amount=price,
                max_timeout_s=window_s,
                binding=binding,
            )
        cap = self._cap(spec, token)
        unit = terms_unit(spec.unit)
        ahead = -(-AHEAD[unit] * price // spec.per)
        tab = PriceTerms(
            capability=name,
            token=token,
            pay_to=pay_to,
            amount=cap,
            max_timeout_s=WINDOW_S,
            binding=binding,
            flow="tab",
            unit=unit,
            unit_price=price,
            per=spec.per,
            ahead=min(cap, max(2, ahead)),
        )
        if cap < 2 * tab.cost(1):
            raise ValueError(f"a tab of {token.show(cap)} does not hold two {spec.unit}s")
        return tab

    def _cap(self, spec: PriceSpec, token: Token) -> int:
        """What the tab of anybody grows to."""
        most = units(self._trust.trusted.tab, token)
        return most if spec.cap is None else min(most, token.parse(spec.cap))

    def sale(self, agent: Agent, peer: PeerId, opened: events.Opened, offers: Offers, description: str) -> Sale:
        """See `trade.Till`."""
        shop = Shop(
            agent=agent,
            ledger=self._ledger,
            chains=self._chains,
            tokens=self._tokens,
            trust=self._trust,
            payers=self._payers,
            clock=self._clock,
            held=self._held,
            credits=self.credits,
        )
        return Sale(shop, peer, opened, offers, description)

    def _token(self, spec: PriceSpec) -> Token | Refusal:
        try:
            chain_id = parse_network(spec.network)
        except ValueError as error:
            return Refusal("invalid_params", str(error))
        token = self._tokens.named(chain_id, spec.asset.upper())
        return token or Refusal("invalid_params", f"There is no token {spec.asset!r} on {spec.network} that is known")


def _place(spec: PriceSpec) -> tuple[str, str, bool, str]:
    """What a caller chooses by: of two prices for it nobody would pay the higher one."""
    return spec.network, spec.asset, spec.tab, spec.unit

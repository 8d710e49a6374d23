"""On what footing one peer buys: what it is offered, when it gets its output, and what it may owe meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nexusd.services.payments.credit import Credits
from nexusd.services.payments.ports import Chains
from nexusd.services.payments.trust import Level, Payers, Trust, units
from nexusd_protocols.identity import PeerId
from nexusd_protocols.payments import faults, terms
from nexusd_protocols.payments.charge import Exposure
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.policy import measured
from nexusd_protocols.payments.terms import PriceTerms
from nexusd_protocols.payments.tokens import Token
from nexusd_protocols.payments.verify import Presented, Verified


class Footing:
    """Of one call. Begins as that of its peer; with the payment it is that of the account as well."""

    def __init__(
        self,
        trust: Trust,
        payers: Payers,
        chains: Chains,
        credit: Credits,
        peer: PeerId,
        for_sale: Sequence[PriceTerms],
    ) -> None:
        self.level = Level.STRANGER
        self.held = False
        """Whether output waits for the settlement."""
        self._trust = trust
        self._payers = payers
        self._chains = chains
        self._credits = credit
        self._peer = peer
        self._for_sale = for_sale
        self._offers: Sequence[PriceTerms] | None = None
        self._unable = False
        self._token = for_sale[0].token
        self._amount = 0
        self._tab: PriceTerms | None = None
        """Under which credit is given."""

    async def offers(self) -> Sequence[PriceTerms]:
        """Of what is for sale, what this peer is offered, and on which terms; nothing, where `why_not` says why."""
        if self._offers is None:
            found: list[PriceTerms] = []
            levels: dict[Token, Level] = {}
            for each in self._for_sale:
                if each.token not in levels:
                    levels[each.token] = await self._payers.level(self._peer, token=each.token)
                self.level = levels[each.token]
                found += self._trust.offers(self.level, [each], self._chains.online, self._credits.of(self._peer))
            self._offers = found
        return self._offers

    async def demanded(self) -> Sequence[PriceTerms]:
        """Of these, what could be settled: nobody is to sign for what would be refused then. What was paid before is
        given again all the same."""
        offers = await self.offers()
        able = [each for each in offers if not self._chains.unable(each.token.chain_id)]
        self._unable = bool(offers) and not able
        return able

    @property
    def why_not(self) -> str:
        """Why nothing is offered, or demanded."""
        if self._unable:
            return "no payment can be settled here now; nothing was asked for"
        if self.level is Level.OFFENDER:
            return "a payment was taken back here, and nothing is given on trust until that is cleared"
        return f"no tab that a {self.level} is trusted with would hold two units at this price"

    async def paid_with(self, payment: Presented) -> PaymentFault | None:
        """The account is known now; or why it gets nothing for its payment."""
        self.level = await self._payers.level(self._peer, payment.payer, payment.token)
        self._token, self._amount = payment.token, payment.authorization.value
        if payment.scheme == terms.TAB:
            return PaymentFault(faults.NOT_TRUSTED) if self.level is Level.OFFENDER else self._give(payment)
        self.held = self._is_held(payment)
        if self.level is Level.OFFENDER and not self.held:
            return PaymentFault(faults.NOT_TRUSTED)
        return None

    def _give(self, payment: Presented) -> PaymentFault | None:
        """The credit of its tab. What was offered may have been taken by another call meanwhile."""
        if not isinstance(payment, Verified) or not payment.terms.credit:
            return None
        most = measured(payment.terms.credit, self._token.decimals)
        if self._credits.of(self._peer) + most > self._trust.allowance(self.level, online=self.online).tab:
            return PaymentFault(faults.EXPOSURE, "too much of other calls is not paid yet: ask again")
        self._tab = payment.terms
        self._credits.give(self._peer, most)
        return None

    def ended(self, unpaid: int) -> None:
        """The call is over: so many units of its tab went, and nobody signed for them."""
        if self._tab is None:
            return
        decimals = self._tab.token.decimals
        given, left = measured(self._tab.credit, decimals), measured(self._tab.cost(unpaid), decimals)
        self._credits.end(self._peer, given, left)
        self._tab = None

    def _is_held(self, payment: Presented) -> bool:
        """Without a chain nothing settles, so that waiting for it would be for ever: there exposure alone is the
        bound."""
        trust = self._trust
        if not self.online:
            return False
        large = measured(payment.authorization.value, payment.token.decimals) > trust.hold_above
        strange = trust.hold_strangers and self.level is Level.STRANGER
        return large or strange or self.level is Level.OFFENDER

    @property
    def online(self) -> bool:
        """Whether there is a chain to ask."""
        return self._chains.online(self._token.chain_id)

    @property
    def token(self) -> Token:
        """That is paid in."""
        return self._token

    @property
    def exposure(self) -> Exposure:
        """What may be owed, by this payer and by all, beside what is on credit. What is held until it is settled may
        be larger than either, by itself: it risks work alone."""
        found = self._trust.exposure(self.level, self._token, online=self.online, held=self.held)
        if not self.held:
            mine = units(self._credits.of(self._peer), self._token)
            all_ = units(self._credits.total, self._token)
            return replace(found, payer=max(0, found.payer - mine), total=max(0, found.total - all_))
        return replace(found, payer=max(found.payer, self._amount), total=max(found.total, self._amount))

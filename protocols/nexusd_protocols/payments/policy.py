"""What a payer's policy says to a demand: pay, let a person decide, or refuse. (specs/payments.md §10)

Deny by default: without a policy nothing is paid, and what a list does not name is not allowed. `decide` is pure; the
ledger applies it again in the transaction that reserves the budget, since two calls may ask at once.

What was signed counts as spent until the chain can take it no more, whether or not anything came of it: a signature is
money out of hand. Then its budget comes back, unless it is known to be spent. Where no chain is asked, a provider that
takes payments and says nothing, or that it took none, would get a budget again and again; so each limit of a time holds
twice: for what counts, and doubled for that and what came back without the chain's word.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from nexusd_protocols.identity import PeerId
from nexusd_protocols.payments import money
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.terms import PriceTerms, Required

STOPPED: Final = "payments_stopped"
OTHER_PARTY: Final = "other_party"
OFFER_EXPIRED: Final = "offer_expired"
NETWORK: Final = "network_not_allowed"
ASSET: Final = "asset_not_allowed"
PEER: Final = "peer_not_allowed"
CAPABILITY: Final = "capability_not_allowed"
WINDOW: Final = "window_too_long"
PER_CALL: Final = "over_what_the_call_allows"
PER_REQUEST: Final = "over_limit_of_request"
PER_HOUR: Final = "over_limit_of_hour"
PER_DAY: Final = "over_limit_of_day"
PER_PAYEE: Final = "over_limit_of_payee"
TOO_OFTEN: Final = "too_many_payments"
UNACCOUNTED: Final = "unaccounted"

CODES: Final = {
    STOPPED: "payments are switched off",
    OTHER_PARTY: "the demand is for another provider or capability than was called",
    OFFER_EXPIRED: "the offer holds no longer",
    NETWORK: "the network is not on the list",
    ASSET: "the token is not on the list",
    PEER: "the provider is not on the list",
    CAPABILITY: "the capability is not on the list",
    WINDOW: "the authorisation would hold for longer than the policy allows",
    PER_CALL: "more than this call may cost",
    PER_REQUEST: "more than one request may cost",
    PER_HOUR: "more than may be spent in an hour",
    PER_DAY: "more than may be spent in a day",
    PER_PAYEE: "more than this payee may get in a day",
    TOO_OFTEN: "more payments than may be made in a minute",
    UNACCOUNTED: "of too much no chain says what became: name a node of the network (rpc_urls), or wait a day",
}
"""Why a policy refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Of one agent. Amounts are smallest units of a token with 6 decimals; `tokens` with others are measured by their
    own decimals. An amount of None is no limit, 0 allows nothing but what is free. Of the lists, `peers` and
    `capabilities` may be None: everybody, everything. Whoever is paid for the first time needs a person's word where
    `approve_first` says so, and so does what is above `approve_above`."""

    stopped: bool = False
    per_request: int | None = 0
    per_hour: int | None = None
    per_day: int | None = None
    per_payee: int | None = None
    per_minute_count: int | None = 60
    approve_above: int | None = None
    approve_first: bool = False
    networks: frozenset[str] = field(default_factory=frozenset)
    """CAIP-2."""
    assets: frozenset[str] = field(default_factory=lambda: frozenset({"USDC"}))
    """Symbols of this node's own registry."""
    peers: frozenset[str] | None = None
    capabilities: frozenset[str] | None = None
    max_window_s: int = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What an agent has spent, in units of 6 decimals, and may have: signed and not yet closed counts in full. What is
    `returned` counts no more, and may have been spent all the same."""

    hour: int = 0
    day: int = 0
    payee_day: int = 0
    hour_returned: int = 0
    day_returned: int = 0
    payee_returned: int = 0
    minute_count: int = 0
    payee_known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What is to be bought. `amount` is the most that it can cost, in smallest units of the token. `max_price` is what
    the caller said the call may cost, None if it said nothing. `approved`: a person agreed to this purchase."""

    provider: PeerId
    capability: str
    terms: PriceTerms
    amount: int
    max_price: int | None = None
    approved: bool = False

    @property
    def payee(self) -> Address:
        """Who gets it."""
        return self.terms.pay_to


@dataclass(frozen=True, slots=True)
class Pay:
    """Sign it, once the budget is reserved."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A person decides first. `reason` is one of `amount`, `first`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not by this policy. `code` is one of CODES."""

    code: str

    def __str__(self) -> str:
        return CODES[self.code]


Decision = Pay | Ask | Refuse


def measured(amount: int, decimals: int) -> int:
    """An amount of a token in millionths of a whole one, rounded up: what limits and sums are in."""
    more = decimals - money.LIMIT_DECIMALS
    return amount * int(10**-more) if more <= 0 else -(-amount // int(10**more))


def decide(policy: Policy, spent: Spent, purchase: Purchase, now_s: int) -> Decision:
    """What the policy says. A person's approval lifts the thresholds of approval, and nothing else."""
    terms = purchase.terms
    amount = measured(purchase.amount, terms.token.decimals)
    allowed = (
        (not policy.stopped, STOPPED),
        (not terms.valid_until or now_s <= terms.valid_until, OFFER_EXPIRED),
        (terms.token.network in policy.networks, NETWORK),
        (terms.token.symbol in policy.assets, ASSET),
        (policy.peers is None or purchase.provider in policy.peers, PEER),
        (policy.capabilities is None or purchase.capability in policy.capabilities, CAPABILITY),
        (terms.max_timeout_s <= policy.max_window_s, WINDOW),
        (_fits(purchase.amount, 0, purchase.max_price), PER_CALL),
        (_fits(amount, 0, policy.per_request), PER_REQUEST),
        (_fits(amount, spent.hour, policy.per_hour), PER_HOUR),
        (_fits(amount, spent.day, policy.per_day), PER_DAY),
        (_fits(amount, spent.payee_day, policy.per_payee), PER_PAYEE),
        (_fits(1, spent.minute_count, policy.per_minute_count), TOO_OFTEN),
        (_fits(amount, spent.hour + spent.hour_returned, _twice(policy.per_hour)), UNACCOUNTED),
        (_fits(amount, spent.day + spent.day_returned, _twice(policy.per_day)), UNACCOUNTED),
        (_fits(amount, spent.payee_day + spent.payee_returned, _twice(policy.per_payee)), UNACCOUNTED),
    )
    for fits, code in allowed:
        if not fits:
            return Refuse(code)
    if not purchase.approved:
        if policy.approve_first and not spent.payee_known:
            return Ask("first")
        if policy.approve_above is not None and amount > policy.approve_above:
            return Ask("amount")
    return Pay()


def concerns(demand: Required, provider: PeerId, capability: str) -> Refuse | None:
    """Whether a demand is for what was called: a provider that is called for one thing must not sell another, nor
    collect for somebody else. None if it is."""
    same = (demand.provider, demand.capability) == (provider, capability)
    return None if same else Refuse(OTHER_PARTY)


def _fits(amount: int, before: int, limit: int | None) -> bool:
    return limit is None or before + amount <= limit


def _twice(limit: int | None) -> int | None:
    return None if limit is None else 2 * limit

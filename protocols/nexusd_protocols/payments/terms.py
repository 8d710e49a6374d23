"""What a provider wants for a capability, and its x402 form: one entry of `accepts`. (specs/payments.md §2)

    provider: PriceTerms -> requirements() -> required(...)                     what goes to the caller
    payer:    read_required(object, tokens) -> Required(offers: PriceTerms …)   what it can pay of what came

A price is whole units of a token that this node knows. Two schemes: `exact`, over one amount, and `nexus-tab`, where
`amount` is the most that one authorisation can grow to while the work goes on, and units of work have a price.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from nexusd_protocols import limits
from nexusd_protocols.identity import PeerId, parse_peer_id
from nexusd_protocols.ids import parse_capability_name
from nexusd_protocols.payments import faults, money
from nexusd_protocols.payments.address import ZERO, Address, checksummed, read_address
from nexusd_protocols.payments.binding import offer_digest
from nexusd_protocols.payments.faults import PaymentError, PaymentFault
from nexusd_protocols.payments.tokens import Token, Tokens

EXACT: Final = "exact"
TAB: Final = "nexus-tab"

Flow = Literal["authorization", "upfront", "tab"]
"""`authorization`: check, work, settle. `upfront`: settle, work. `tab`: pay as the work comes in."""
Unit = Literal["request", "second", "chunk", "byte", "token_in", "token_out"]
Binding = Literal["optional", "required"]

UNITS: Final = limits.PAYMENT_UNITS

_MOST: Final = (1 << 53) - 1
"""JSON has no larger whole numbers for all."""
_FLOWS: Final = ("authorization", "upfront")
_UNITS: Final = ("second", "chunk", "byte", "token_in", "token_out")
_OFFER_ID: Final = re.compile(r"[\x21-\x7e]{0,64}")
_NEXUS: Final = "nexus"
"""The field of `extra` that holds what is ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTerms:
    """A price. Raises ValueError for what cannot be offered.

    `amount` is what a call costs, 0 for the free tier; of a tab the most that one authorisation grows to, while `per`
    of `unit` cost `unit_price`, the payer authorises at most `ahead` more than it got, and the provider delivers at
    most `credit` more than was authorised. `valid_until` is unix seconds, 0 for no end. With `binding` required, an
    authorisation must name this request.
    """

    capability: str
    token: Token
    pay_to: Address
    amount: int
    max_timeout_s: int = 60
    flow: Flow = "authorization"
    unit: Unit = "request"
    unit_price: int = 0
    per: int = 1
    ahead: int = 0
    credit: int = 0
    binding: Binding = "optional"
    offer_id: str = ""
    valid_until: int = 0

    def __post_init__(self) -> None:
        parse_capability_name(self.capability)
        if len(self.pay_to) != 20 or self.pay_to == ZERO:
            raise ValueError("payTo is an address that somebody has")
        if not 0 <= self.amount <= money.MAX_UINT:
            raise ValueError("an amount is a whole number of at most 256 bits")
        if not 1 <= self.max_timeout_s <= limits.PAYMENT_TIMEOUT_S:
            raise ValueError(f"an authorisation holds for 1 to {limits.PAYMENT_TIMEOUT_S} seconds")
        if self.valid_until < 0 or not _OFFER_ID.fullmatch(self.offer_id):
            raise ValueError("an offer's id has at most 64 printable characters, and its end is in unix seconds")
        tab = self.flow == "tab"
        if tab != (self.unit != "request"):
            raise ValueError("a tab is priced by the unit, and nothing else is")
        if tab and not 1 <= self.per <= UNITS:
            raise ValueError(f"a price is for 1 to {UNITS} units")
        if tab and not (self.unit_price > 0 and self.cost(1) <= self.amount):
            raise ValueError("units cost something, and a tab must hold one")
        if tab and self.units(self.amount) > _MOST:
            raise ValueError("a tab holds fewer than 2^53 units")
        if tab and not (0 <= self.ahead <= self.amount and 0 <= self.credit <= self.amount):
            raise ValueError("what is authorised ahead, and what is given on credit, fit into the tab")
        if not tab and (self.unit_price or self.ahead or self.credit or self.per != 1):
            raise ValueError("only a tab has a price for a unit")

    @property
    def scheme(self) -> str:
        """As `accepts` names it."""
        return TAB if self.flow == "tab" else EXACT

    @property
    def free(self) -> bool:
        """Whether nothing is to be paid."""
        return self.amount == 0

    @property
    def step(self) -> int:
        """Of a tab: half of what both sides risk. No piece costs more, and by so much it grows."""
        return (self.ahead + self.credit) // 2

    def cost(self, units: int) -> int:
        """What so many units of a tab cost together: rounded up once, not for each."""
        return -(-units * self.unit_price // self.per)

    def units(self, amount: int) -> int:
        """How many whole units of a tab an amount buys."""
        return amount * self.per // self.unit_price

    def requirements(self) -> dict[str, Any]:
        """The entry of `accepts`, x402 version 2."""
        extra: dict[str, Any] = {"name": self.token.name, "version": self.token.version}
        if self.flow == "upfront":
            extra["paymentFlow"] = "upfront"
        ours: dict[str, Any] = {}
        if self.flow == "tab":
            ours |= {"unit": self.unit, "unitPrice": str(self.unit_price), "ahead": str(self.ahead)}
        if self.per != 1:
            ours["per"] = self.per
        if self.credit:
            ours["credit"] = str(self.credit)
        if self.binding == "required":
            ours["binding"] = "required"
        if self.offer_id:
            ours["offerId"] = self.offer_id
        if self.valid_until:
            ours["validUntil"] = self.valid_until
        if ours:
            extra[_NEXUS] = ours
        return {
            "scheme": self.scheme,
            "network": self.token.network,
            "amount": str(self.amount),
            "asset": self.token.asset,
            "payTo": checksummed(self.pay_to),
            "maxTimeoutSeconds": self.max_timeout_s,
            "extra": extra,
        }


def resource_url(provider: PeerId, capability: str) -> str:
    """What is paid for."""
    return f"nexus://{provider}/{capability}"


def parse_resource_url(url: str) -> tuple[PeerId, str]:
    """Provider and capability. Raises ValueError."""
    scheme, _, rest = url.partition("://")
    peer, _, capability = rest.partition("/")
    if scheme != "nexus":
        raise ValueError("not a nexus:// address")
    return parse_peer_id(peer), parse_capability_name(capability)


def required(
    offers: Sequence[PriceTerms], provider: PeerId, *, description: str = "", error: str = ""
) -> dict[str, Any]:
    """PaymentRequired, x402 version 2: the demand for one of `offers`, which are all for one capability."""
    resource = {"url": resource_url(provider, offers[0].capability), "mimeType": "application/json"}
    if description:
        resource["description"] = description
    demand: dict[str, Any] = {"x402Version": 2, "resource": resource}
    if error:
        demand["error"] = error
    demand["accepts"] = [terms.requirements() for terms in offers]
    return demand


@dataclass(frozen=True, slots=True)
class Offer:
    """Terms that a provider stated. `raw` is the entry of `accepts` as it came, which a payment repeats."""

    terms: PriceTerms
    raw: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Required:
    """A demand. `offers` are those that this node could pay, in the provider's order; `faults` says why it could not
    pay the rest. `error` is the provider's text: untrusted."""

    provider: PeerId
    capability: str
    offers: tuple[Offer, ...]
    faults: tuple[PaymentFault, ...]
    error: str


def read_required(demand: object, tokens: Tokens) -> Required | PaymentFault:
    """A demand of x402 version 2 that came from a provider. That it names the provider and capability which were
    called is for the payer to compare: its policy does."""
    if not isinstance(demand, dict) or type(demand.get("x402Version")) is not int or demand["x402Version"] != 2:
        return PaymentFault(faults.INVALID_VERSION)
    resource, accepts, error = demand.get("resource"), demand.get("accepts"), demand.get("error", "")
    try:
        if not isinstance(resource, dict) or not isinstance(resource.get("url"), str):
            raise ValueError("resource.url is missing")
        provider, capability = parse_resource_url(resource["url"])
        if not isinstance(accepts, list) or not 0 < len(accepts) <= limits.PAYMENT_OFFERS:
            raise ValueError(f"accepts is a list of 1 to {limits.PAYMENT_OFFERS}")
    except ValueError as fault:
        return PaymentFault(faults.INVALID_PAYLOAD, str(fault))
    offers, refused = [], []
    for entry in accepts:
        terms = read_requirements(entry, tokens, capability)
        if isinstance(terms, PaymentFault):
            refused.append(terms)
        else:
            offers.append(Offer(terms, entry))
    text = error[: limits.ERROR_MESSAGE_CHARS] if isinstance(error, str) else ""
    return Required(provider, capability, tuple(offers), tuple(refused), text)


def read_requirements(entry: object, tokens: Tokens, capability: str) -> PriceTerms | PaymentFault:
    """One entry of `accepts`, or why this node does not pay it."""
    try:
        return _read(entry, tokens, capability)
    except PaymentError as error:
        return error.fault
    except ValueError as error:
        return PaymentFault(faults.INVALID_REQUIREMENTS, str(error))


def _read(entry: object, tokens: Tokens, capability: str) -> PriceTerms:
    if not isinstance(entry, dict):
        raise PaymentError(faults.INVALID_REQUIREMENTS, "not an object")
    offer_digest(entry)  # raises ValueError for what cannot be bound
    scheme, extra = entry.get("scheme"), entry.get("extra", {})
    if scheme not in (EXACT, TAB):
        raise PaymentError(faults.INVALID_SCHEME)
    if not isinstance(entry.get("network"), str) or not entry["network"].startswith("eip155:"):
        raise PaymentError(faults.INVALID_NETWORK)
    token = tokens.find(entry["network"], entry.get("asset"))
    if token is None:
        raise PaymentError(faults.UNKNOWN_ASSET)
    if not isinstance(extra, dict) or extra.get("assetTransferMethod", "eip3009") != "eip3009":
        raise PaymentError(faults.INVALID_REQUIREMENTS, "only transfers by authorisation (EIP-3009)")
    for name, ours in (("name", token.name), ("version", token.version)):
        # whoever states another domain has payers sign what nobody can use, or what somebody else can
        if extra.get(name, ours) != ours:
            raise PaymentError(faults.INVALID_REQUIREMENTS, f"extra.{name} is not the token's")
    nexus = extra.get(_NEXUS, {})
    if not isinstance(nexus, dict):
        raise PaymentError(faults.INVALID_REQUIREMENTS, "extra.nexus is no object")
    flow: Any = "tab" if scheme == TAB else extra.get("paymentFlow", "authorization")
    unit: Any = nexus.get("unit") if scheme == TAB else "request"
    if flow not in (*_FLOWS, "tab") or unit not in (*_UNITS, "request"):
        raise PaymentError(faults.INVALID_REQUIREMENTS, "a flow or unit that is not known here")
    binding: Any = nexus.get("binding", "optional")
    if binding not in ("optional", "required"):
        raise PaymentError(faults.INVALID_REQUIREMENTS, "a binding that is not known here")
    tab = flow == "tab"
    return PriceTerms(
        capability=capability,
        token=token,
        pay_to=read_address(entry.get("payTo")),
        amount=money.parse_uint(entry.get("amount")),
        max_timeout_s=_whole(entry.get("maxTimeoutSeconds")),
        flow=flow,
        unit=unit,
        unit_price=money.parse_uint(nexus.get("unitPrice")) if tab else 0,
        per=_whole(nexus.get("per", 1)) if tab else 1,
        ahead=money.parse_uint(nexus.get("ahead")) if tab else 0,
        credit=money.parse_uint(nexus.get("credit", "0")) if tab else 0,
        binding=binding,
        offer_id=_text(nexus.get("offerId", "")),
        valid_until=_whole(nexus.get("validUntil", 0)),
    )


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError("not a whole number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value

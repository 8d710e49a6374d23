"""Whether a payment pays. (specs/payments.md §4)

    bytes -> read() -> object -> verify(object, offers, now_s, context) -> Verified | PaymentFault

From cheap to dear: size, JSON, version, the terms that were accepted, the form of the authorisation, whom and what it
pays, its times, the binding, and last the signature, which costs more than all the rest. That the authorisation is
unused and the payer has the money is for the ledger and the chain to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from nexusd_protocols import limits, ndjson
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.payments import authorization as signed
from nexusd_protocols.payments import binding, faults, money
from nexusd_protocols.payments.address import Address, checksummed, read_address
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.binding import Context
from nexusd_protocols.payments.faults import PaymentError, PaymentFault
from nexusd_protocols.payments.terms import EXACT, TAB, PriceTerms
from nexusd_protocols.payments.tokens import V1_NETWORKS, Token, Tokens

_json: Final = msgspec.json.Decoder()
_FIELDS: Final[tuple[tuple[str, str, Callable[[object], Any]], ...]] = (
    ("from_", "from", read_address),
    ("to", "to", read_address),
    ("value", "value", money.parse_uint),
    ("valid_after", "validAfter", money.parse_uint),
    ("valid_before", "validBefore", money.parse_uint),
    ("nonce", "nonce", signed.read_nonce),
)
_FORMS: Final = frozenset({"authorization", "signature"})

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """An authorisation that its payer has signed, whatever it is for. `signature` is in its one form."""

    version: int
    scheme: str = EXACT
    token: Token
    authorization: Authorization
    signature: bytes
    salt: bytes | None

    @property
    def payer(self) -> Address:
        """Who pays."""
        return self.authorization.from_

    @property
    def key(self) -> str:
        """What the ledger keeps it under: see `Authorization.key`."""
        return self.authorization.key(self.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified(Presented):
    """A payment that pays `terms`. `bound`: this authorisation buys the request of the context and nothing else."""

    terms: PriceTerms
    bound: bool


def read(data: bytes) -> Any:
    """The JSON of an x402 object, or a PaymentFault."""
    if len(data) > limits.PAYMENT_BYTES:
        return PaymentFault(faults.INVALID_PAYLOAD, f"over {limits.PAYMENT_BYTES} bytes")
    try:
        return ndjson.decode(data, _json)
    except RemoteProtocolError as error:
        return PaymentFault(faults.INVALID_PAYLOAD, str(error))


def verify(
    payment: object,
    offers: Sequence[PriceTerms],
    *,
    now_s: int,
    context: Context | None = None,
    margin_s: int = limits.PAYMENT_MARGIN_S,
    further: bool = False,
) -> Verified | PaymentFault:
    """Whether a PaymentPayload (version 1 or 2, decoded) pays one of `offers`.

    `now_s` is unix seconds. `context` is what is being bought; without it nothing is taken as bound. `margin_s` is how
    long the authorisation must still hold, so that it can be settled. `further`: it is not the first tab of its call,
    and may begin with whatever was asked for.
    """
    try:
        envelope = _Envelope(payment)
        terms = envelope.choose(offers)
        if terms.valid_until and now_s > terms.valid_until:
            raise PaymentError(faults.OFFER_EXPIRED)
        authorization = _authorization(envelope.inner)
        _pays(authorization, terms, further)
        _holds(authorization, terms, now_s, margin_s)
        salt, bound = _binding(envelope, authorization, terms, context)
        signature = _signature(envelope.inner, authorization, terms.token)
    except PaymentError as error:
        return error.fault
    return Verified(
        version=envelope.version,
        scheme=terms.scheme,
        token=terms.token,
        authorization=authorization,
        signature=signature,
        salt=salt,
        terms=terms,
        bound=bound,
    )


def identify(payment: object, tokens: Tokens) -> Presented | PaymentFault:
    """Which authorisation a PaymentPayload shows, signed by its payer, with no regard to terms and times: for a payer
    that asks again for what it has paid, when prices have changed or the time is over."""
    try:
        envelope = _Envelope(payment)
        token = envelope.token(tokens)
        authorization = _authorization(envelope.inner)
        salt = _claim(envelope)
        signature = _signature(envelope.inner, authorization, token)
    except PaymentError as error:
        return error.fault
    return Presented(
        version=envelope.version,
        scheme=str(envelope.scheme),
        token=token,
        authorization=authorization,
        signature=signature,
        salt=salt,
    )


class _Envelope:
    """What is around the authorisation. Raises PaymentError."""

    __slots__ = ("accepted", "extensions", "inner", "network", "scheme", "version")

    def __init__(self, payment: object) -> None:
        if not isinstance(payment, dict):
            raise PaymentError(faults.INVALID_PAYLOAD, "not an object")
        version = payment.get("x402Version")
        if type(version) is not int or version not in (1, 2):  # True is an int, and 2.0 equals 2
            raise PaymentError(faults.INVALID_VERSION)
        self.version: int = version
        self.accepted: dict[str, Any] = {}
        self.extensions: object = None
        terms = payment
        if version == 2:
            accepted = payment.get("accepted")
            if not isinstance(accepted, dict):
                raise PaymentError(faults.INVALID_PAYLOAD, "accepted is missing")
            terms = self.accepted = accepted
            self.extensions = payment.get("extensions")
        self.scheme: object = terms.get("scheme")
        self.network: object = terms.get("network")
        self.inner: object = payment.get("payload")

    def choose(self, offers: Sequence[PriceTerms]) -> PriceTerms:
        """The offer that was accepted."""
        left = [terms for terms in offers if terms.scheme == self.scheme and (self.version == 2 or self._is_exact())]
        if not left:
            raise PaymentError(faults.INVALID_SCHEME)
        network = self._caip2()
        left = [terms for terms in left if terms.token.network == network]
        if not left:
            raise PaymentError(faults.INVALID_NETWORK)
        if self.version == 1:
            return self._first_paid(left)
        extra = self.accepted.get("extra")
        if isinstance(extra, dict) and extra.get("assetTransferMethod", "eip3009") != "eip3009":
            raise PaymentError(faults.INVALID_PAYLOAD, "only transfers by authorisation (EIP-3009)")
        for terms in left:
            if self._repeats(terms):  # to the letter, as everybody does
                return terms
        asset = _field(self.accepted, "asset", read_address, faults.INVALID_REQUIREMENTS)
        pay_to = _field(self.accepted, "payTo", read_address, faults.INVALID_REQUIREMENTS)
        amount = _field(self.accepted, "amount", money.parse_uint, faults.INVALID_REQUIREMENTS)
        for terms in left:
            if terms.token.address == asset and terms.pay_to == pay_to and terms.amount == amount:
                return terms
        raise PaymentError(faults.INVALID_REQUIREMENTS)

    def _repeats(self, terms: PriceTerms) -> bool:
        accepted = self.accepted
        return bool(
            accepted.get("asset") == terms.token.asset
            and accepted.get("payTo") == checksummed(terms.pay_to)
            and accepted.get("amount") == str(terms.amount)
        )

    def token(self, tokens: Tokens) -> Token:
        """The token, where there are no terms at hand."""
        if self.scheme not in (EXACT, TAB) or (self.version == 1 and not self._is_exact()):
            raise PaymentError(faults.INVALID_SCHEME)
        network = self._caip2()
        if network is None:
            raise PaymentError(faults.INVALID_NETWORK)
        if self.version == 2:
            token = tokens.find(network, self.accepted.get("asset"))
        else:
            token = tokens.named(V1_NETWORKS[str(self.network)])
        if token is None:
            raise PaymentError(faults.UNKNOWN_ASSET)
        return token

    def _is_exact(self) -> bool:
        return self.scheme == EXACT

    def _caip2(self) -> str | None:
        """The network as version 2 names it; None where it is not named as the payment's version names it."""
        if not isinstance(self.network, str):
            return None
        if self.version == 2:
            return self.network
        chain_id = V1_NETWORKS.get(self.network)
        return None if chain_id is None else f"eip155:{chain_id}"

    def _first_paid(self, offers: Sequence[PriceTerms]) -> PriceTerms:
        """Version 1 does not repeat the terms: the first offer that the authorisation pays, else the first."""
        inner = self.inner.get("authorization") if isinstance(self.inner, dict) else None
        value = inner.get("value") if isinstance(inner, dict) else None
        return next((terms for terms in offers if str(terms.amount) == value), offers[0])


def _field(record: dict[str, Any], name: str, parse: Callable[[object], ValueT], code: str) -> ValueT:
    try:
        return parse(record.get(name))
    except ValueError as error:
        raise PaymentError(code, f"{name}: {error}") from error


def _authorization(inner: object) -> Authorization:
    if not isinstance(inner, dict) or not inner.keys() <= _FORMS:
        # a payload with further parts is of another way of paying, and would have two meanings
        raise PaymentError(faults.INVALID_PAYLOAD, "payload has other parts than an authorisation and its signature")
    fields = inner.get("authorization")
    if not isinstance(fields, dict):
        raise PaymentError(faults.INVALID_PAYLOAD, "authorization is missing")
    try:
        return Authorization(**{name: parse(fields.get(key)) for name, key, parse in _FIELDS})
    except ValueError:
        for _, key, parse in _FIELDS:
            _field(fields, key, parse, faults.INVALID_PAYLOAD)  # says which
        raise


def _pays(authorization: Authorization, terms: PriceTerms, further: bool) -> None:
    if authorization.to != terms.pay_to:
        raise PaymentError(faults.RECIPIENT_MISMATCH)
    if terms.flow == "tab":
        least = 1 if further else max(1, terms.ahead)
        if not least <= authorization.value <= terms.amount:
            raise PaymentError(faults.VALUE_MISMATCH, f"a tab holds {least} to {terms.amount}")
    elif authorization.value != terms.amount:
        raise PaymentError(faults.VALUE_MISMATCH)
    if authorization.from_ == authorization.to:
        raise PaymentError(faults.INVALID_PAYLOAD, "who pays itself moves nothing")


def _holds(authorization: Authorization, terms: PriceTerms, now_s: int, margin_s: int) -> None:
    # the contract wants the block's time strictly between the two
    if authorization.valid_after >= now_s:
        raise PaymentError(faults.VALID_AFTER)
    if authorization.valid_before < now_s + margin_s:
        raise PaymentError(faults.VALID_BEFORE, f"ends within {margin_s} s")
    longest = terms.max_timeout_s + limits.PAYMENT_WINDOW_SLACK_S
    if authorization.valid_before > now_s + longest:
        raise PaymentError(faults.VALID_BEFORE, f"holds for more than {longest} s")


def _claim(envelope: _Envelope) -> bytes | None:
    try:
        return binding.read_salt(envelope.extensions)
    except ValueError as error:
        raise PaymentError(faults.INVALID_PAYLOAD, f"{binding.EXTENSION}: {error}") from error


def _binding(
    envelope: _Envelope, authorization: Authorization, terms: PriceTerms, context: Context | None
) -> tuple[bytes | None, bool]:
    """The salt, and whether the authorisation is bound to the request."""
    salt = _claim(envelope)
    bound = False
    if salt is not None:
        try:
            offer = binding.offer_digest(envelope.accepted)
        except ValueError as error:
            raise PaymentError(faults.INVALID_REQUIREMENTS, str(error)) from error
        if context is not None:
            if binding.nonce(context, offer, salt) != authorization.nonce:
                raise PaymentError(faults.BINDING_MISMATCH)
            bound = True
    if terms.binding == "required" and not bound:
        raise PaymentError(faults.UNBOUND, f"no random nonces here: it has to name the request ({binding.EXTENSION})")
    return salt, bound


def _signature(inner: Any, authorization: Authorization, token: Token) -> bytes:
    signature = _field(inner, "signature", signed.read_signature, faults.SIGNATURE)
    signer = signed.recover_normal(authorization.digest(token), signature)
    if isinstance(signer, PaymentFault):
        raise PaymentError(signer.code, signer.detail)
    if signer != authorization.from_:
        raise PaymentError(faults.SIGNATURE, "signed by somebody else")
    return signature

"""Receipts: what a provider says it delivered for a payment, signed with its node's key. (specs/payments.md §7)

    provider: Receipt -> sign(receipt, signer) -> text          anybody, later: verify(text) -> Receipt | PaymentFault

Two JWS (RFC 7515, compact, EdDSA, `kid` a did:key, RFC 8037): the receipt of x402's offer-receipt extension, which says
who was served what; and ours, which also pins the request, the result, the usage and the authorisation. A did:key and
a PeerId hold the same key, so both verify with nothing else at hand. There is one text for each receipt: JSON without
blanks, keys in order of their code points.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Final, Literal

import base58
import msgspec
from msgspec import Meta

from nexusd_protocols import limits, ndjson
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.frames import Count, RequestId
from nexusd_protocols.identity import PeerId, Signer, parse_peer_id, peer_id_of, public_key_of
from nexusd_protocols.identity import verify as signed_by
from nexusd_protocols.payments import faults, money
from nexusd_protocols.payments.faults import PaymentFault

TYPE: Final = "nexus-receipt+jws"
"""`typ` of ours, so that no other JWS of the same key is taken for one."""

_ED25519: Final = b"\xed\x01"  # multicodec ed25519-pub
_Hex = Annotated[str, Meta(pattern=r"\A0x[0-9a-f]{64}\Z")]
_Uint = Annotated[str, Meta(pattern=r"\A(0|[1-9][0-9]{0,77})\Z")]
_Address = Annotated[str, Meta(pattern=r"\A0x[0-9a-fA-F]{40}\Z")]
_Short = Annotated[str, Meta(min_length=1, max_length=64)]
_Url = Annotated[str, Meta(min_length=1, max_length=512)]


class Usage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was delivered, as the provider counted it. `units` of what the price names, which of a tab is `unit` (see
    `terms.Unit`); 1 for a request."""

    input_bytes: Count = 0
    output_bytes: Count = 0
    duration_ms: Count = 0
    units: Count = 1
    unit: _Short | msgspec.UnsetType = msgspec.UNSET


class Tab(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One of several authorisations that a call was paid with: what is charged under its nonce."""

    nonce: _Hex
    amount: _Uint


class Receipt(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `provider` delivered, to whom, and what for. Digests are SHA-256 as 0x… text: `request` is the request's
    (`binding.request_digest`), `input` and `result` those of what went in and came out. `amount` is what is charged
    under `authorization`, a ledger key; of a call with several tabs under all of these, in order, and `authorization`
    is the first. `issuedAt` is unix seconds. `complete` is false where the caller gave up."""

    version: Literal[1] = 1
    provider: Annotated[str, Meta(max_length=64)]
    caller: Annotated[str, Meta(max_length=64)]
    capability: Annotated[str, Meta(min_length=1, max_length=limits.CAPABILITY_NAME_CHARS)]
    request_id: RequestId
    request: _Hex
    input: _Hex
    result: _Hex
    complete: bool
    usage: Usage
    network: _Short
    asset: _Address
    payer: _Address
    pay_to: _Address
    amount: _Uint
    authorization: Annotated[str, Meta(min_length=1, max_length=192)]
    issued_at: Count
    tabs: Annotated[tuple[Tab, ...], Meta(min_length=2, max_length=limits.PAYMENT_TABS)] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    transaction: _Hex | None = None

    @property
    def charges(self) -> dict[str, int]:
        """What is charged, by nonce as 0x… text."""
        if self.tabs is msgspec.UNSET:
            return {f"0x{self.authorization.rpartition('/')[2]}": int(self.amount)}
        return {tab.nonce: int(tab.amount) for tab in self.tabs}


class Standard(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The payload of x402's own receipt, field for field. `transaction` is left out where it is not told."""

    version: int
    network: _Short
    resource_url: _Url
    payer: _Short
    issued_at: Count
    transaction: Annotated[str, Meta(max_length=128)] = ""


class _Header(msgspec.Struct, frozen=True):
    alg: Literal["EdDSA"]
    kid: Annotated[str, Meta(max_length=256)]
    typ: str = ""


_header: Final = msgspec.json.Decoder(_Header)
_receipt: Final = msgspec.json.Decoder(Receipt)


def did_of(peer: PeerId) -> str:
    """The did:key of a PeerId."""
    return f"did:key:z{base58.b58encode(_ED25519 + public_key_of(peer)).decode()}"


def peer_of(did: str) -> PeerId:
    """The inverse of `did_of`. Raises ValueError."""
    method, _, text = did.partition(":z")
    raw = base58.b58decode(text) if method == "did:key" and len(text) <= 64 else b""
    if len(raw) != 34 or not raw.startswith(_ED25519):
        raise ValueError("not the did:key of an Ed25519 key")
    peer = peer_id_of(raw[2:])
    if did_of(peer) != did:
        raise ValueError("not a did:key in its one form")
    return peer


def sign(receipt: Receipt, signer: Signer) -> str:
    """The receipt's text. Raises ValueError where it is another node's, or a field is out of its bounds."""
    if receipt.provider != signer.peer_id:
        raise ValueError("a receipt is signed by the provider that it names")
    msgspec.convert(msgspec.to_builtins(receipt), Receipt)  # what we send must be what we would accept
    return _sign(receipt, signer, {"typ": TYPE})


def sign_standard(receipt: Standard, signer: Signer) -> str:
    """The text of x402's own receipt."""
    return _sign(receipt, signer, {})


def verify(text: str) -> Receipt | PaymentFault:
    """A receipt of ours, signed by the provider that it names."""
    try:
        typ, signer, payload = _open(text)
        receipt: Receipt = _decoded(payload, _receipt)
        if typ != TYPE:
            raise ValueError("a JWS for another purpose")
        if receipt.provider != signer:
            raise ValueError("signed by another than the provider")
        parse_peer_id(receipt.caller)
        _check_tabs(receipt)
    except ValueError as error:
        return PaymentFault(faults.BAD_RECEIPT, str(error))
    return receipt


def _check_tabs(receipt: Receipt) -> None:
    charges = receipt.charges
    if receipt.tabs is not msgspec.UNSET and len(charges) != len(receipt.tabs):
        raise ValueError("a tab that is there twice")
    if next(iter(charges)) != f"0x{receipt.authorization.rpartition('/')[2]}":
        raise ValueError("the first tab is not what the receipt names")
    if sum(charges.values()) != money.parse_uint(receipt.amount):
        raise ValueError("the tabs do not add up")


def _sign(payload: msgspec.Struct, signer: Signer, header: dict[str, str]) -> str:
    did = did_of(signer.peer_id)
    head = {"alg": "EdDSA", "kid": f"{did}#{did.removeprefix('did:key:')}", **header}
    signing = f"{_text(_json(head))}.{_text(_json(payload))}"
    return f"{signing}.{_text(signer.sign(signing.encode()))}"


def _open(text: str) -> tuple[str, PeerId, bytes]:
    """`typ`, signer and payload of a JWS whose signature holds. Raises ValueError."""
    if len(text) > limits.RECEIPT_BYTES or not text.isascii():
        raise ValueError(f"a receipt has at most {limits.RECEIPT_BYTES} characters of ASCII")
    parts = text.split(".")
    if len(parts) != 3:
        raise ValueError("not a compact JWS")
    head, payload, signature = (_bytes(part) for part in parts)
    header = _decoded(head, _header)
    did, _, fragment = header.kid.partition("#")
    signer = peer_of(did)
    if fragment != did.removeprefix("did:key:"):
        raise ValueError("kid names another key than its did")
    if not signed_by(signer, f"{parts[0]}.{parts[1]}".encode(), signature):
        raise ValueError("the signature does not hold")
    return header.typ, signer, payload


def _decoded(data: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return ndjson.decode(data, decoder)
    except RemoteProtocolError as error:
        raise ValueError(str(error)) from error


def _json(value: object) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """Strict base64url without padding. Raises ValueError."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if _text(raw) != text:
        raise ValueError("not base64url in its one form")
    return raw

"""Pointers: signed, numbered, for a time. (specs/pointer.md §1, §3)

    issuer:  sign(key, cid, …) | withdraw(key, …) -> bytes, the value of a DHT record
    reader:  read(key, bytes, now) -> Pointer, or PointerError with one of CODES

The published network signs seven fields, which do not say of which room or capability a pointer is: whoever holds two
of somebody's pointers could put one in the place of the other. Where a kind has names, `key` and `keySig` bind the
envelope to its key; readers of the published network pass over them. An envelope has one form in bytes, so nobody can
make another of it.

A withdrawal is an envelope that expires at the instant at which it was issued. To a reader it points to nothing. Nodes
keep it as long as what came before it could still be valid, so that nobody can bring that back.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from msgspec.structs import asdict

from nexusd_protocols import limits, ndjson
from nexusd_protocols.content.cid import RAW, Cid
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import Signer, verify
from nexusd_protocols.pointer.keys import TTL_MS, Key, PointerKind, is_named

SCHEMA: Final = "nexus:pointer-envelope:v1"
NOTHING: Final = Cid.of(RAW, b"")
"""What a withdrawal points to."""

CODES: Final = {
    "oversized": "more bytes than any pointer has",
    "bad_json": "not JSON",
    "bad_envelope": "JSON of another shape, or a field out of its bounds",
    "not_canonical": "not in the one form that an envelope has: fields in order, no blanks, none unknown",
    "bad_key": "no pointer is kept under such a key",
    "wrong_kind": "a pointer of another kind than the key is for",
    "foreign_key": "the issuer does not own the key",
    "replayed": "a pointer that was made for another key",
    "bad_lifetime": "it ends before it begins, or holds for longer than its kind may",
    "future": "issued later than our clock says, by more than clocks differ",
    "expired": "its time is over",
    "forged": "a signature is not the issuer's",
    "downgraded": "a newer one of the same issuer is known",
}
"""Why an envelope is refused. `downgraded` comes from `supersedes`, the rest from `read`."""

_DOMAIN: Final = b"nexusd pointer key 1"
_MAX_SAFE: Final = (1 << 53) - 1
"""JavaScript has no larger whole numbers."""

_Count = Annotated[int, Meta(ge=0, le=_MAX_SAFE)]
_Time = Annotated[int, Meta(ge=0, le=(1 << 48) - 1)]  # unix milliseconds, of as many bits as a UUIDv7 has for them
_Signature = Annotated[str, Meta(min_length=88, max_length=88)]


class PointerError(ValueError):
    """An envelope is refused. `code` is one of CODES."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail or CODES[code]}")
        self.code = code


class _Claims(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What the published signature is over, in its order."""

    schema: str = SCHEMA
    kind: PointerKind
    issuer: Annotated[str, Meta(max_length=limits.SENDER_CHARS)]
    cid: Annotated[str, Meta(max_length=limits.REFERENCE_CHARS)]
    seq: _Count
    issued_at: _Time
    expires_at: _Time


class _Envelope(_Claims, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """As it travels."""

    schema: str
    sig: _Signature
    key: Annotated[str, Meta(max_length=limits.KAD_KEY_BYTES)] | msgspec.UnsetType = msgspec.UNSET
    key_sig: _Signature | msgspec.UnsetType = msgspec.UNSET


_envelope: Final = msgspec.json.Decoder(_Envelope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """A pointer that was verified. Times are unix milliseconds by the issuer's clock."""

    key: Key
    cid: Cid
    seq: int
    issued_at: int
    expires_at: int

    @property
    def withdrawn(self) -> bool:
        """Whether it says that there is nothing any more."""
        return self.expires_at == self.issued_at


# --- the issuer ----------------------------------------------------------------------------------------------------


def sign(signer: Signer, key: Key, cid: Cid, *, seq: int, now: int, ttl: int | None = None) -> bytes:
    """A pointer from now on, for `ttl` milliseconds (as long as its kind may hold). Raises PointerError for what no
    reader would take."""
    return _signed(signer, key, cid, seq, now, now + (TTL_MS[key.kind] if ttl is None else ttl))


def withdraw(signer: Signer, key: Key, *, seq: int, now: int) -> bytes:
    """Take back what this issuer said under a key before. Raises as `sign`."""
    return _signed(signer, key, NOTHING, seq, now, now)


def _signed(signer: Signer, key: Key, cid: Cid, seq: int, issued_at: int, expires_at: int) -> bytes:
    claims = _Claims(
        kind=key.kind, issuer=key.issuer, cid=str(cid), seq=seq, issued_at=issued_at, expires_at=expires_at
    )
    body = ndjson.encode(claims)
    fields = {**asdict(claims), "sig": _sign(signer, body)}
    if is_named(key.kind):
        fields |= {"key": str(key), "key_sig": _sign(signer, _statement(str(key), body))}
    value = ndjson.encode(_Envelope(**fields))
    read(str(key), value, issued_at)
    return value


def _sign(signer: Signer, message: bytes) -> str:
    return base64.b64encode(signer.sign(message)).decode()


def _statement(key: str, body: bytes) -> bytes:
    """What `keySig` is over: each part behind its length (8 bytes, big-endian)."""
    return b"".join(struct.pack(">Q", len(part)) + part for part in (_DOMAIN, key.encode(), body))


# --- the reader ----------------------------------------------------------------------------------------------------


def read(key: str, value: bytes, now: int) -> Pointer:
    """Verify what is kept under a key. Raises PointerError. What is cheap is looked at first, signatures last."""
    envelope = _decode(value)
    try:
        owned = Key.parse(key)
    except ValueError as error:
        raise PointerError("bad_key", str(error)) from error
    if envelope.kind != owned.kind:
        raise PointerError("wrong_kind", f"a {envelope.kind} under the key of a {owned.kind}")
    if envelope.issuer != owned.issuer:
        raise PointerError("foreign_key", f"issued by {envelope.issuer}, under the key of {owned.issuer}")
    if envelope.key is not msgspec.UNSET and envelope.key != key:
        raise PointerError("replayed", f"made for {envelope.key}")
    try:
        cid = Cid.parse(envelope.cid)
    except ValueError as error:
        raise PointerError("bad_envelope", str(error)) from error
    _check_times(envelope, now)
    _check_signatures(envelope, key)
    return Pointer(key=owned, cid=cid, seq=envelope.seq, issued_at=envelope.issued_at, expires_at=envelope.expires_at)


def valid_until(value: bytes) -> int:
    """When an envelope that was verified ceases to be valid (unix milliseconds). Raises PointerError."""
    return _valid_until(_decode(value))


def supersedes(offered: bytes, held: bytes) -> bool:
    """Whether the one is newer than the other, of two that were verified under one key; else `offered` is a downgrade,
    or the same. The higher `seq` is newer. An issuer that used one `seq` twice has itself to blame; all nodes keep the
    same of the two."""
    return _rank(offered) > _rank(held)


def newest(values: Sequence[bytes]) -> int:
    """The index of the newest, the first of those that are equal."""
    return max(range(len(values)), key=lambda index: (*_rank(values[index]), -index))


def _rank(value: bytes) -> tuple[int, bytes]:
    return _decode(value).seq, value


def _decode(value: bytes) -> _Envelope:
    if len(value) > limits.POINTER_BYTES:
        raise PointerError("oversized", f"over {limits.POINTER_BYTES} bytes")
    try:
        envelope = ndjson.decode(value, _envelope, depth=1)
    except RemoteProtocolError as error:
        raise PointerError("bad_json" if error.code == "bad_json" else "bad_envelope", error.detail) from error
    if envelope.schema != SCHEMA:
        raise PointerError("bad_envelope", f"the schema is not {SCHEMA}")
    bound = envelope.key is not msgspec.UNSET, envelope.key_sig is not msgspec.UNSET
    if bound != (is_named(envelope.kind),) * 2:
        raise PointerError("bad_envelope", "key and keySig belong to kinds with names, and to those alone")
    if ndjson.encode(envelope) != value:
        raise PointerError("not_canonical")
    return envelope


def _valid_until(envelope: _Envelope) -> int:
    if envelope.expires_at == envelope.issued_at:
        return envelope.issued_at + TTL_MS[envelope.kind]
    return envelope.expires_at


def _check_times(envelope: _Envelope, now: int) -> None:
    lifetime = envelope.expires_at - envelope.issued_at
    if not 0 <= lifetime <= TTL_MS[envelope.kind]:
        raise PointerError(
            "bad_lifetime", f"{lifetime} ms; a {envelope.kind} holds for {TTL_MS[envelope.kind]} at most"
        )
    if envelope.issued_at > now + limits.CLOCK_AHEAD_MS:
        raise PointerError("future", f"issued {envelope.issued_at - now} ms from now")
    if now > _valid_until(envelope):
        raise PointerError("expired", f"since {now - _valid_until(envelope)} ms")


def _check_signatures(envelope: _Envelope, key: str) -> None:
    claims = {name: getattr(envelope, name) for name in _Claims.__struct_fields__}
    body = ndjson.encode(_Claims(**claims))
    signed = [(body, envelope.sig)]
    if isinstance(envelope.key_sig, str):
        signed.append((_statement(key, body), envelope.key_sig))
    for message, signature in signed:
        try:
            raw = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError) as error:
            raise PointerError("bad_envelope", "a signature is not base64") from error
        if base64.b64encode(raw).decode() != signature:
            raise PointerError("not_canonical", "a signature's base64 has another form")
        if not verify(envelope.issuer, message, raw):
            raise PointerError("forged")

"""The authorisation of a transfer (EIP-3009), and the payer's signature over it.

    payer:    sign(authorization, token, account)           65 bytes r | s | v
    provider: recover(authorization, token, signature)      who signed, or a fault

A signature has one form here: s in the lower half and v 27 or 28, as the token's contract demands; v 0 and 1 are read
as these. libsecp256k1 by itself recovers from others too, and then the same payment has several texts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import coincurve
from coincurve._libsecp256k1 import ffi as _ffi
from coincurve._libsecp256k1 import lib as _lib
from coincurve.context import GLOBAL_CONTEXT

from nexusd_protocols.payments import eip712, faults
from nexusd_protocols.payments.address import Address, checksummed
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.tokens import Token

N: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order of secp256k1."""

_HALF: Final = N // 2
_context: Final = GLOBAL_CONTEXT.ctx
_SIGNATURE: Final = _ffi.typeof("secp256k1_ecdsa_recoverable_signature *")
_KEY: Final = _ffi.typeof("secp256k1_pubkey *")
_UNCOMPRESSED: Final = _lib.SECP256K1_EC_UNCOMPRESSED
_HEX_SIGNATURE: Final = re.compile(r"0x[0-9a-fA-F]{130}")
_NONCE: Final = re.compile(r"0x[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """`from_` lets whoever shows this move `value` to `to`, once, at a time strictly between the two (unix seconds).
    Whoever makes one has checked that numbers have 256 bits and the nonce 32 bytes."""

    from_: Address
    to: Address
    value: int
    valid_after: int
    valid_before: int
    nonce: bytes

    def digest(self, token: Token) -> bytes:
        """What the payer signs."""
        struct = eip712.transfer_hash(self.from_, self.to, self.value, self.valid_after, self.valid_before, self.nonce)
        return eip712.digest(token.domain_separator, struct)

    def wire(self) -> dict[str, Any]:
        """As x402 writes it."""
        return {
            "from": checksummed(self.from_),
            "to": checksummed(self.to),
            "value": str(self.value),
            "validAfter": str(self.valid_after),
            "validBefore": str(self.valid_before),
            "nonce": f"0x{self.nonce.hex()}",
        }

    def key(self, token: Token) -> str:
        """`eip155:<chain>/<asset>/<from>/<nonce>`, lower case: what the chain accepts once, whatever the signature."""
        return f"{token.asset_id}/{self.from_.hex()}/{self.nonce.hex()}"


class Account:
    """A secp256k1 key that pays. Its text form never shows the key."""

    def __init__(self, secret: bytes) -> None:
        """`secret` has 32 bytes. Raises ValueError for what is no key."""
        if len(secret) != 32:
            raise ValueError("a secp256k1 key has 32 bytes")
        self._key = coincurve.PrivateKey(secret)
        self.address: Final = _address(self._key.public_key)

    def sign_digest(self, digest: bytes) -> bytes:
        """65 bytes r | s | v, v 27 or 28; the same digest gives the same signature (RFC 6979)."""
        raw = self._key.sign_recoverable(digest, hasher=None)
        return raw[:64] + bytes([raw[64] + 27])

    def secret(self) -> bytes:
        """The 32 secret bytes, for the key store and for transactions; never for a log."""
        return self._key.secret

    def __repr__(self) -> str:
        return f"Account({checksummed(self.address)})"


def sign(authorization: Authorization, token: Token, account: Account) -> bytes:
    """The payer's signature. Raises ValueError where the account is not the payer's."""
    if authorization.from_ != account.address:
        raise ValueError("an authorisation is signed by the account that pays")
    return account.sign_digest(authorization.digest(token))


def recover(authorization: Authorization, token: Token, signature: bytes) -> Address | PaymentFault:
    """Who signed. It is the payer only if it equals `authorization.from_`."""
    return recover_digest(authorization.digest(token), signature)


def recover_digest(digest: bytes, signature: bytes) -> Address | PaymentFault:
    """Who signed a digest of 32 bytes."""
    try:
        normal = normalised(signature)
    except ValueError as error:
        return PaymentFault(faults.SIGNATURE, str(error))
    return recover_normal(digest, normal)


def recover_normal(digest: bytes, normal: bytes) -> Address | PaymentFault:
    """The same for a signature in its one form.

    This is what the time of a check goes to. So it calls the library itself, one step below `coincurve.PublicKey`,
    whose objects would cost a tenth more.
    """
    parsed, key, length = _ffi.new(_SIGNATURE), _ffi.new(_KEY), _ffi.new("size_t *", 65)
    text = _ffi.new("unsigned char [65]")
    if not (
        len(digest) == 32
        and _lib.secp256k1_ecdsa_recoverable_signature_parse_compact(_context, parsed, normal[:64], normal[64] - 27)
        and _lib.secp256k1_ecdsa_recover(_context, key, parsed, digest)
    ):
        return PaymentFault(faults.SIGNATURE, "recovers no key")
    _lib.secp256k1_ec_pubkey_serialize(_context, text, length, key, _UNCOMPRESSED)
    return Address(eip712.keccak256(_ffi.buffer(text)[1:65])[12:])


def normalised(signature: bytes) -> bytes:
    """The signature in its one form. Raises ValueError for what the token's contract would not take."""
    if len(signature) != 65:
        raise ValueError("a signature has 65 bytes")
    v = signature[64]
    if v < 2:
        signature = signature[:64] + bytes([v + 27])
    elif v not in (27, 28):
        raise ValueError("v is neither 27 nor 28")
    if not 0 < int.from_bytes(signature[:32], "big") < N:
        raise ValueError("r is out of range")
    if not 0 < int.from_bytes(signature[32:64], "big") <= _HALF:
        raise ValueError("s is out of its lower half")
    return signature


def read_signature(text: object) -> bytes:
    """A signature's text, as bytes in its one form. Raises ValueError."""
    if type(text) is not str or not _HEX_SIGNATURE.fullmatch(text):
        raise ValueError("not 65 bytes of hex behind 0x")
    return normalised(bytes.fromhex(text[2:]))


def read_nonce(text: object) -> bytes:
    """A nonce's text: 32 bytes. Raises ValueError."""
    if type(text) is not str or not _NONCE.fullmatch(text):
        raise ValueError("not 32 bytes of hex behind 0x")
    return bytes.fromhex(text[2:])


def _address(key: coincurve.PublicKey) -> Address:
    return Address(eip712.keccak256(key.format(compressed=False)[1:])[12:])

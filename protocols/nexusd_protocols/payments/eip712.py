"""Typed data of Ethereum (EIP-712): what a payer signs.

    digest = keccak256(0x1901 | domain separator of the token | hash of the struct)

Only what x402 needs: flat structs of `address`, `uint256`, `bytes32` and `string`. A domain separator is computed once
for each token.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from sha3 import keccak_256

Fields = tuple[tuple[str, str], ...]
"""(name, type) of a struct, in order."""

Value = int | bytes | str


def keccak256(data: bytes) -> bytes:
    """32 bytes. Not SHA3-256: Ethereum keeps the padding that Keccak had before it was standardised."""
    digest: bytes = keccak_256(data).digest()
    return digest


@lru_cache(maxsize=64)  # types are few, and written in this program
def type_hash(name: str, fields: Fields) -> bytes:
    """Hash of `Name(type name,…)`."""
    return keccak256(f"{name}({','.join(f'{kind} {field}' for field, kind in fields)})".encode())


def struct_hash(name: str, fields: Fields, values: Mapping[str, Value]) -> bytes:
    """Hash of a struct. Raises ValueError for a value that its type does not hold, KeyError for one that lacks."""
    return keccak256(type_hash(name, fields) + b"".join(_word(kind, values[field]) for field, kind in fields))


@lru_cache(maxsize=1024)  # tokens that this node knows, and the two domains of offers and receipts
def domain_separator(name: str, version: str, chain_id: int, contract: bytes = b"") -> bytes:
    """Hash of the domain. Without a contract (offers and receipts have none) the domain's type has no such field."""
    fields: Fields = (("name", "string"), ("version", "string"), ("chainId", "uint256"))
    values: dict[str, Value] = {"name": name, "version": version, "chainId": chain_id}
    if contract:
        fields += (("verifyingContract", "address"),)
        values["verifyingContract"] = contract
    return struct_hash("EIP712Domain", fields, values)


def digest(separator: bytes, struct: bytes) -> bytes:
    """What is signed."""
    return keccak256(b"\x19\x01" + separator + struct)


TRANSFER_FIELDS: Final[Fields] = (
    ("from", "address"),
    ("to", "address"),
    ("value", "uint256"),
    ("validAfter", "uint256"),
    ("validBefore", "uint256"),
    ("nonce", "bytes32"),
)
TRANSFER_TYPE_HASH: Final = type_hash("TransferWithAuthorization", TRANSFER_FIELDS)

_PAD: Final = bytes(12)


def transfer_hash(from_: bytes, to: bytes, value: int, valid_after: int, valid_before: int, nonce: bytes) -> bytes:
    """`struct_hash` of TransferWithAuthorization (EIP-3009), written out: it is in the way of every payment. The
    caller has checked lengths and ranges."""
    return keccak256(
        TRANSFER_TYPE_HASH
        + _PAD
        + from_
        + _PAD
        + to
        + value.to_bytes(32, "big")
        + valid_after.to_bytes(32, "big")
        + valid_before.to_bytes(32, "big")
        + nonce
    )


def _word(kind: str, value: Value) -> bytes:
    match kind, value:
        case "string", str():
            return keccak256(value.encode())
        case "uint256", int() if not isinstance(value, bool) and 0 <= value < 1 << 256:
            return value.to_bytes(32, "big")
        case "address", bytes() if len(value) == 20:
            return _PAD + value
        case "bytes32", bytes() if len(value) == 32:
            return value
    raise ValueError(f"not a {kind}")

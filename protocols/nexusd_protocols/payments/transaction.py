"""Transactions of Ethereum (EIP-1559) that settle payments: made, signed, and read again from what was kept.

0x02 | rlp([chain id, nonce, tip, fee, gas, to, value, data, [], y parity, r, s])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Account
from nexusd_protocols.payments.eip712 import keccak256

_TYPE: Final = b"\x02"
_MAX_RAW: Final = 32768
"""Bytes of one that is read again: a settlement has some 430, one of ten payments five thousand."""

Item: TypeAlias = "bytes | Sequence[Item]"


class Fees(NamedTuple):
    """Wei for a unit of gas: at most `most` in all, of which at most `tip` go to whoever makes the block."""

    most: int
    tip: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A signed transaction, as it is kept before it is sent. `network` is CAIP-2; `account` (lower hex, without 0x)
    pays the gas; `hash` is 0x and lower hexadecimal; `made_at`: unix milliseconds, once it is kept."""

    network: str
    account: str
    account_nonce: int
    hash: str
    raw: bytes
    made_at: int = 0

    @property
    def fees(self) -> Fees:
        """What it offers. Raises ValueError if `raw` is not what `sign` makes."""
        return read_fees(self.raw)

    @property
    def gas(self) -> int:
        """How much it may use. Raises ValueError if `raw` is not what `sign` makes."""
        return read_gas(self.raw)


def sign(
    account: Account, *, chain_id: int, nonce: int, fees: Fees, gas: int, to: Address, data: bytes, value: int = 0
) -> Transaction:
    """The one signed form of a transaction: the same arguments give the same bytes."""
    fields: list[Item] = [
        _uint(chain_id),
        _uint(nonce),
        _uint(fees.tip),
        _uint(fees.most),
        _uint(gas),
        to,
        _uint(value),
        data,
        [],
    ]
    signature = account.sign_digest(keccak256(_TYPE + encode(fields)))
    parts = [signature[64] - 27, int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")]
    raw = _TYPE + encode([*fields, *(_uint(part) for part in parts)])
    return Transaction(
        network=f"eip155:{chain_id}",
        account=account.address.hex(),
        account_nonce=nonce,
        hash=f"0x{keccak256(raw).hex()}",
        raw=raw,
    )


def read_fees(raw: bytes) -> Fees:
    """The fees that a kept transaction offers. Raises ValueError."""
    tip, most = _numbers(raw)[2:4]
    return Fees(most=most, tip=tip)


def read_gas(raw: bytes) -> int:
    """The gas that a kept transaction may use. Raises ValueError."""
    return _numbers(raw)[4]


def _numbers(raw: bytes) -> list[int]:
    """Chain id, nonce, tip, fee and gas."""
    if raw[:1] != _TYPE or len(raw) > _MAX_RAW:
        raise ValueError("not a transaction of this program")
    fields = decode(raw[1:])
    numbers = [field for field in fields[:5] if isinstance(field, bytes)] if isinstance(fields, list) else []
    if len(fields) != 12 or len(numbers) != 5:
        raise ValueError("not a transaction of this program")
    return [int.from_bytes(number, "big") for number in numbers]


# --- RLP --------------------------------------------------------------------------------------------------------------
def encode(item: Item) -> bytes:
    """Recursive length prefix: byte strings and lists of these."""
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < 0x80:
            return item
        return _prefix(len(item), 0x80) + item
    body = b"".join(map(encode, item))
    return _prefix(len(body), 0xC0) + body


def decode(data: bytes) -> bytes | list[Item]:
    """One item that fills `data`, at most one list deep in another. Raises ValueError."""
    item, end = _read(data, 0, len(data), 0)
    if end != len(data):
        raise ValueError("bytes behind the item")
    return item


def _read(data: bytes, at: int, limit: int, depth: int) -> tuple[bytes | list[Item], int]:
    if at >= limit or depth > 2:
        raise ValueError("ends early, or is nested too deep")
    first = data[at]
    if first < 0x80:
        return data[at : at + 1], at + 1
    base = 0x80 if first < 0xC0 else 0xC0
    size, start = first - base, at + 1
    if size > 55:
        digits = size - 55
        size, start = int.from_bytes(data[start : start + digits], "big"), start + digits
    end = start + size
    if end > limit:
        raise ValueError("ends early")
    if base == 0x80:
        return data[start:end], end
    items: list[Item] = []
    while start < end:
        item, start = _read(data, start, end, depth + 1)
        items.append(item)
    return items, end


def _prefix(size: int, base: int) -> bytes:
    if size <= 55:
        return bytes([base + size])
    digits = _uint(size)
    return bytes([base + 55 + len(digits)]) + digits


def _uint(number: int) -> bytes:
    """Big-endian without leading zeros: zero is empty."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")

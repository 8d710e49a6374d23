"""Addresses of accounts and contracts: 20 bytes inside, text with the checksum of EIP-55 outside."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NewType

from nexusd_protocols.payments.eip712 import keccak256

Address = NewType("Address", bytes)
"""20 bytes. Make one through `read_address`, `parse_address` or an `Account`."""

ZERO: Final = Address(bytes(20))

_HEX: Final = re.compile(r"0x[0-9a-fA-F]{40}")


def read_address(text: object) -> Address:
    """An address of a peer's: any case will do, since what it names is signed. Raises ValueError."""
    if type(text) is not str or not _HEX.fullmatch(text):
        raise ValueError("not an address")
    return Address(bytes.fromhex(text[2:]))


def parse_address(text: str) -> Address:
    """An address that a person gave: letters of both cases must be its checksum. Raises ValueError."""
    address = read_address(text)
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and text != checksummed(address):
        raise ValueError("the letters' cases, which are a checksum, are wrong: look for a mistyped character")
    return address


@lru_cache(maxsize=4096)  # payees and tokens come again with every payment
def checksummed(address: Address) -> str:
    """`0x…` with the checksum of EIP-55, as everything that we send has it: the official facilitator takes no other."""
    text = address.hex()
    sums = keccak256(text.encode()).hex()
    return "0x" + "".join(digit.upper() if sum_ >= "8" else digit for digit, sum_ in zip(text, sums, strict=False))

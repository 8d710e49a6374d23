"""Several calls in one transaction: Multicall3, which has one address and one code on all chains that have it. Pure.

Each call may fail by itself. Whoever calls a token through it is not the account that signed the transaction; with a
transfer by authorisation it does not matter who calls. (https://www.multicall3.com)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from nexusd.chain.eip3009 import address_word, selector, uint_word
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.eip712 import keccak256

ADDRESS: Final = Address(bytes.fromhex("ca11bde05977b3631167028862be2a173976ca11"))
CODE_HASH: Final = bytes.fromhex("d5c15df687b16f2ff992fc8d767b4216323184a2bbc6ee2f9c398c318e770891")
"""Keccak-256 of what is there on Ethereum, Base, Base Sepolia and Polygon. What has another code is not used."""

_AGGREGATE3: Final = selector("aggregate3((address,bool,bytes)[])")
_WORD: Final = 32
_MAY_FAIL: Final = uint_word(1)


class Inner(NamedTuple):
    """A call of a contract's."""

    to: Address
    data: bytes


def is_code(code: bytes) -> bool:
    """Whether it is this contract's."""
    return keccak256(code) == CODE_HASH


def aggregate3(calls: Sequence[Inner]) -> bytes:
    """Do all of these, in this order, whatever becomes of each."""
    entries = [_entry(call) for call in calls]
    offsets: list[bytes] = []
    at = _WORD * len(entries)
    for entry in entries:
        offsets.append(uint_word(at))
        at += len(entry)
    return b"".join((_AGGREGATE3, uint_word(_WORD), uint_word(len(entries)), *offsets, *entries))


def _entry(call: Inner) -> bytes:
    padding = bytes(-len(call.data) % _WORD)
    return b"".join(
        (address_word(call.to), _MAY_FAIL, uint_word(3 * _WORD), uint_word(len(call.data)), call.data, padding)
    )

"""Money: whole numbers of the smallest unit inside, decimal text at the edge.

wire:   "10000"  <->  10000      canonical: ASCII digits, no sign, no leading zero, below 2**256
people: "0.01"   <->  10000      of a token with 6 decimals
"""

from __future__ import annotations

import re
from typing import Final

MAX_UINT: Final = (1 << 256) - 1
LIMIT_DECIMALS: Final = 6
"""Limits, and what counts against them, are in millionths of a whole token, whatever token it is."""

_SHOWN: Final = 40
"""Characters of what is no amount that an error repeats."""

_UINT: Final = re.compile(r"0|[1-9][0-9]{0,77}")
_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]{0,77})(?:\.([0-9]{1,77}))?")


def parse_uint(text: object) -> int:
    """A whole number as the wire has it. Raises ValueError for anything but its one text."""
    if type(text) is not str or not _UINT.fullmatch(text):
        raise ValueError("not a canonical decimal string")
    number = int(text)
    if number > MAX_UINT:
        raise ValueError("does not fit into 256 bits")
    return number


def parse_decimal(text: str, decimals: int) -> int:
    """An amount as people write it, in smallest units. Raises ValueError: signs, exponents, blanks, a bare point, and
    more digits behind the point than the token has."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:_SHOWN]!r} is no amount: it is written like 0.10 or 12")
    fraction = match[2] or ""
    if len(fraction) > decimals:
        raise ValueError(f"{text[:_SHOWN]!r} has more than {decimals} digits behind the point")
    number = int(match[1] + fraction.ljust(decimals, "0"))
    if number > MAX_UINT:
        raise ValueError("does not fit into 256 bits")
    return number


def show(amount: int, decimals: int) -> str:
    """The shortest decimal text of `amount` smallest units. Raises ValueError where it is negative."""
    if amount < 0:
        raise ValueError("an amount is zero or more")
    whole, fraction = divmod(amount, 10**decimals)
    digits = f"{fraction:0{decimals}d}".rstrip("0") if decimals else ""
    return f"{whole}.{digits}" if digits else str(whole)

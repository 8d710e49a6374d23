"""Bytes as text, whose first character names the base (multiformats/multibase). Those in use for CIDs."""

from __future__ import annotations

import base64
from typing import Final

import base58

_NAMES: Final = {"b": "base32", "z": "base58btc", "f": "base16", "k": "base36"}
_BASE36: Final = b"0123456789abcdefghijklmnopqrstuvwxyz"


def encode(base: str, raw: bytes) -> str:
    """The text, prefix first. `base` is `b` (base32), `z` (base58btc), `f` (base16) or `k` (base36)."""
    match base:
        case "b":
            return "b" + base64.b32encode(raw).decode().lower().rstrip("=")
        case "z":
            return "z" + str(base58.b58encode(raw), "ascii")
        case "f":
            return "f" + raw.hex()
        case "k":
            return "k" + str(base58.b58encode(raw, alphabet=_BASE36), "ascii")
    raise ValueError(f"no base is called {base!r}")


def decode(text: str) -> bytes:
    """The bytes behind the prefix. Not strict: text with unused bits set is read, too; who needs one text for the same
    bytes encodes them again and compares. The caller bounds the length. Raises ValueError."""
    base, rest = text[:1], text[1:]
    if base == "b" and rest != rest.lower():
        raise ValueError("base32 in this form is lower case")
    try:
        match base:
            case "b":
                return base64.b32decode(rest.upper() + "=" * (-len(rest) % 8))
            case "z":
                return bytes(base58.b58decode(rest))
            case "f":
                return bytes.fromhex(rest)
            case "k":
                return bytes(base58.b58decode(rest, alphabet=_BASE36))
    except ValueError as error:
        raise ValueError(f"it is not whole, or not {_NAMES[base]}, as its {base!r} says") from error
    raise ValueError("of the bases, base32 (b), base58btc (z), base16 (f) and base36 (k) are read")

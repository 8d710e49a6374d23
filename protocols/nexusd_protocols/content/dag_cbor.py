"""DAG-CBOR, strictly: one value has one encoding. (ipld.io/specs/codecs/dag-cbor; specs/content.md §3)

cbor2 reads much more than that, and writes what has no end until the stack has one. So what is read is walked first,
without recursion and within bounds, and what is written is walked before.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import cbor2

from nexusd_protocols import limits
from nexusd_protocols.content.cid import Cid

Value: TypeAlias = "bool | int | str | bytes | list[Value] | dict[str, Value] | Cid | None"
"""What our records are made of: no floats, whose equality nobody can rely on, and integers from −2^64 to 2^64 − 1."""
Encodable: TypeAlias = "bool | int | str | bytes | Sequence[Encodable] | Mapping[str, Encodable] | Cid | None"
"""What is written: lists, tuples and dictionaries."""

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _SIMPLE = range(8)
_LINK: Final = 42
_FALSE, _TRUE, _NULL, _DOUBLE = 20, 21, 22, 27
_INTEGERS: Final = range(-(1 << 64), 1 << 64)


class DagCborError(ValueError):
    """Bytes that are no DAG-CBOR, or a value that has none. `code` is one of: `too_large`, `too_deep`,
    `too_many_items`, `truncated`, `trailing_bytes`, `long_integer`, `indefinite_length`, `float`, `bad_tag`,
    `bad_link`, `bad_key`, `unsorted_keys`, `duplicate_key`, `bad_text`, `bad_simple`, `not_canonical`; in writing also
    `bad_type` and `bad_integer`."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code


def encode(value: Encodable, *, depth: int = limits.DAG_CBOR_DEPTH) -> bytes:
    """The one encoding of a value. Raises DagCborError: `bad_type`, `bad_integer`, `bad_key`, `bad_text`,
    `too_deep`."""
    _check(value, depth)
    try:
        return _dumps(value)
    except UnicodeEncodeError as error:
        raise DagCborError("bad_text", "a lone surrogate") from error


def decode(
    data: bytes,
    *,
    max_bytes: int = limits.BLOCK_BYTES,
    depth: int = limits.DAG_CBOR_DEPTH,
    items: int = limits.DAG_CBOR_ITEMS,
) -> Value:
    """The value. Raises DagCborError."""
    _scan(data, max_bytes, depth, items, floats=False)
    try:
        value: Value = cbor2.loads(data, tag_hook=_decode_link, allow_indefinite=False, allow_duplicate_keys=False)
    except cbor2.CBORError as error:
        raise DagCborError("not_canonical", str(error)) from error
    if _dumps(value) != data:
        raise DagCborError("not_canonical", "encoded again, it is something else")
    return value


def links(
    data: bytes,
    *,
    max_bytes: int = limits.BLOCK_BYTES,
    depth: int = limits.DAG_CBOR_DEPTH,
    items: int = limits.DAG_CBOR_ITEMS,
) -> list[Cid]:
    """The CIDs in what anybody has encoded, in their order, however often. Floats of 64 bits are allowed here, as the
    specification does. Raises DagCborError."""
    return _scan(data, max_bytes, depth, items, floats=True)


def _dumps(value: Encodable) -> bytes:
    return cbor2.dumps(value, canonical=True, default=_encode_link)


def _encode_link(encoder: cbor2.CBOREncoder, value: object) -> None:
    if not isinstance(value, Cid):
        raise DagCborError("bad_type", type(value).__name__)
    encoder.encode(cbor2.CBORTag(_LINK, b"\x00" + value.encode()))


def _decode_link(tag: cbor2.CBORTag, _immutable: bool = False) -> Cid:
    return Cid.decode(tag.value[1:])


def _check(value: object, depth: int) -> None:
    """Walk a value level by level."""
    level = [value]
    for _ in range(depth + 1):
        below: list[object] = []
        for item in level:
            match item:
                case None | bool() | str() | bytes() | Cid():
                    pass
                case int():
                    if item not in _INTEGERS:
                        raise DagCborError("bad_integer", "over 64 bits")
                case list() | tuple():
                    below.extend(item)
                case dict():
                    if not all(isinstance(key, str) for key in item):
                        raise DagCborError("bad_key", "keys are text")
                    below.extend(item.values())
                case _:
                    raise DagCborError("bad_type", type(item).__name__)
        if not below:
            return
        level = below
    raise DagCborError("too_deep", f"over {depth} levels")


def _scan(data: bytes, max_bytes: int, depth: int, items: int, *, floats: bool) -> list[Cid]:
    """Walk the encoding once. `left` values are still to come in the container that is open; in a map, whose keys
    count, an even number means that a key comes next."""
    if len(data) > max_bytes:
        raise DagCborError("too_large", f"over {max_bytes} bytes")
    found: list[Cid] = []
    outer: list[tuple[int, bool, bytes | None]] = []
    left, in_map, last_key = 1, False, None
    at = 0
    while True:
        while left == 0:
            if not outer:
                if at != len(data):
                    raise DagCborError("trailing_bytes", f"{len(data) - at} of them")
                return found
            left, in_map, last_key = outer.pop()
        items -= 1
        if items < 0:
            raise DagCborError("too_many_items")
        is_key = in_map and left % 2 == 0
        left -= 1
        major, argument, at = _head(data, at)
        if is_key and major != _TEXT:
            raise DagCborError("bad_key", "keys are text")
        if major in (_BYTES, _TEXT):
            text, at = _take(data, at, argument)
            if major == _TEXT:
                _check_text(text)
            if is_key:
                _check_order(last_key, text)
                last_key = text
        elif major in (_LIST, _MAP):
            count = argument * 2 if major == _MAP else argument
            if count > items:
                raise DagCborError("too_many_items")
            if len(outer) >= depth:
                raise DagCborError("too_deep", f"over {depth} levels")
            outer.append((left, in_map, last_key))
            left, in_map, last_key = count, major == _MAP, None
        elif major == _TAG:
            cid, at = _link(data, at, argument)
            found.append(cid)
        elif major == _SIMPLE:
            _check_simple(argument, data[at - 8 : at], floats)


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Major type, argument, where the rest begins. Of a float the argument is 25, 26 or 27, for its width."""
    if at >= len(data):
        raise DagCborError("truncated")
    major, short = data[at] >> 5, data[at] & 0x1F
    at += 1
    if short < 24:
        return major, short, at
    if short == 31:
        raise DagCborError("indefinite_length")
    if short > 27:
        raise DagCborError("bad_simple", "a reserved length")
    width = 1 << (short - 24)
    raw, at = _take(data, at, width)
    if major == _SIMPLE:
        return major, short, at
    argument = int.from_bytes(raw, "big")
    if argument < (24 if width == 1 else 1 << (4 * width)):
        raise DagCborError("long_integer", "a number or length takes more bytes than it needs")
    return major, argument, at


def _take(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    if length > len(data) - at:
        raise DagCborError("truncated")
    return data[at : at + length], at + length


def _check_text(raw: bytes) -> None:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise DagCborError("bad_text", "not UTF-8") from error


def _check_order(last: bytes | None, key: bytes) -> None:
    if last is None:
        return
    if key == last:
        raise DagCborError("duplicate_key", key.decode())
    if (len(key), key) < (len(last), last):
        raise DagCborError("unsorted_keys", "the shorter first, then by their bytes")


def _check_simple(argument: int, raw: bytes, floats: bool) -> None:
    if argument in (_FALSE, _TRUE, _NULL):
        return
    if not 25 <= argument <= _DOUBLE:
        raise DagCborError("bad_simple", "only false, true and null exist")
    if not floats or argument != _DOUBLE or not math.isfinite(struct.unpack(">d", raw)[0]):
        raise DagCborError("float")


def _link(data: bytes, at: int, tag: int) -> tuple[Cid, int]:
    if tag != _LINK:
        raise DagCborError("bad_tag", f"{tag}; only 42 exists")
    major, length, at = _head(data, at)
    raw, at = _take(data, at, length) if major == _BYTES else (b"", at)
    if raw[:1] != b"\x00":
        raise DagCborError("bad_link", "a link is bytes that begin with a zero")
    try:
        return Cid.decode(raw[1:]), at
    except ValueError as error:
        raise DagCborError("bad_link", str(error)) from error

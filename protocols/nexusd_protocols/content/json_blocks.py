"""What the published network stores: JSON under the codec json, and text as raw bytes. (specs/content.md §6)"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from nexusd_protocols import limits
from nexusd_protocols.content import dag_json
from nexusd_protocols.content.block import Block, BlockError
from nexusd_protocols.content.cid import DAG_JSON, JSON, RAW

_ARRAY_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_MAX_INDEX: Final = 2**32 - 1


def encode_json(value: Any) -> bytes:
    """JSON as `JSON.stringify` of JavaScript gives it (ECMA-262 §25.5.2), members in the order in which a JavaScript
    object keeps them. Raises ValueError for what is not JSON: NaN, a lone surrogate, bytes, keys that are not text."""
    parts: list[str] = []
    _write(value, parts, limits.JSON_DEPTH)
    return "".join(parts).encode()  # a UnicodeEncodeError is a ValueError, too


def block_of(value: Any) -> Block:
    """One block of text or bytes (raw), or of any other JSON. Raises ValueError for what is no JSON or too large."""
    codec = JSON
    if isinstance(value, str | bytes):
        codec, data = RAW, value.encode() if isinstance(value, str) else value
    else:
        data = encode_json(value)
    if len(data) > limits.BLOCK_BYTES:
        raise ValueError(f"one block has at most {limits.BLOCK_BYTES} bytes")
    return Block.of(codec, data)


def read_value(block: Block) -> Any:
    """The JSON of a block of json or dag-json, or the bytes of a raw one. Raises BlockError `bad_block`, for other
    codecs too."""
    if block.cid.codec == RAW:
        return block.data
    if block.cid.codec not in (JSON, DAG_JSON):
        raise BlockError("bad_block", f"{block.cid.codec_name} is not JSON")
    try:
        return dag_json.decode(block.data)
    except ValueError as error:
        raise BlockError("bad_block", str(error)) from error


def _write(value: Any, parts: list[str], depth: int) -> None:
    match value:
        case None:
            parts.append("null")
        case bool():
            parts.append("true" if value else "false")
        case str():
            parts.append(json.dumps(value, ensure_ascii=False))
        case int():
            parts.append(str(value))
        case float():
            parts.append(_number(value))
        case list() | tuple() | dict() if depth == 0:
            raise ValueError(f"more than {limits.JSON_DEPTH} levels")
        case list() | tuple():
            parts.append("[")
            for at, item in enumerate(value):
                parts.append("," if at else "")
                _write(item, parts, depth - 1)
            parts.append("]")
        case dict():
            parts.append("{")
            for at, name in enumerate(_in_order(value)):
                parts.append(("," if at else "") + json.dumps(name, ensure_ascii=False) + ":")
                _write(value[name], parts, depth - 1)
            parts.append("}")
        case _:
            raise ValueError(f"{type(value).__name__} is not JSON")


def _in_order(members: dict[str, Any]) -> list[str]:
    """Names that are array indexes by their number, then the others as they were put in."""
    if not all(isinstance(name, str) for name in members):
        raise ValueError("the names in an object are text")
    indexes = {name: int(name) for name in members if _ARRAY_INDEX.fullmatch(name) and int(name) < _MAX_INDEX}
    return sorted(indexes, key=indexes.__getitem__) + [name for name in members if name not in indexes]


def _number(value: float) -> str:
    """The shortest digits that read back as the same number, as in Python, but with a point up to 21 digits before and
    6 behind it (ECMA-262 §6.1.6.1.20)."""
    if not math.isfinite(value):
        raise ValueError("JSON has no NaN and no infinity")
    digits, _, exponent = f"{value!r}".partition("e")
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    if not exponent:
        return digits
    if -7 < int(exponent) < 0:
        sign, whole = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
        return f"{sign}0.{'0' * (-int(exponent) - 1)}{whole.replace('.', '')}"
    return f"{digits.removesuffix('.0')}e{int(exponent):+d}"

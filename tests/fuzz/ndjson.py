"""Lines: the first byte says into what pieces the rest is cut; the cuts change nothing."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.ndjson import LineBuffer, decode

_MAX_LINE = 2000
_anything = msgspec.json.Decoder(dict[str, Any])

SEEDS = [
    b"\x01" + b'{"type":"invoke.open","version":1}\n{"a":[1,2,{"b":null}]}\n',
    b"\x07" + b"\r\n\n\n" + b'{"x":"\\u00e9\\n"}\r\n',
    b"\x40" + b"[" * 100 + b"\n" + b'{"a":' * 40 + b"\n",
    b"\xff" + b"x" * 3000,
    b"\x02" + b"1\n" * 500,
]


def _lines(pieces: list[bytes]) -> tuple[list[bytes], str]:
    buffer = LineBuffer(_MAX_LINE)
    lines: list[bytes] = []
    try:
        for piece in pieces:
            buffer.feed(piece)
            lines += buffer.lines()
    except RemoteProtocolError as error:
        return lines, error.code
    return lines, ""


def target(data: bytes) -> None:
    size, stream = (data[0] or 256, data[1:8192]) if data else (1, b"")
    cut, cut_code = _lines([stream[at : at + size] for at in range(0, len(stream), size)])
    whole, whole_code = _lines([stream])
    assert cut_code == whole_code
    assert cut == whole
    for line in whole:
        with contextlib.suppress(RemoteProtocolError):
            decode(line, _anything)

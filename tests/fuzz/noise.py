"""Noise messages: honest ones, changed as the input says, in pieces.

The first byte says into what pieces the rest is cut. A message in the input is two bytes of length and a text; the
target encrypts it, unless the length has its high bit set: then the bytes go as they are.
"""

from __future__ import annotations

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.noise.transport import NoiseTransport

_ALICE, _BOB = bytes(range(32)), bytes(range(32, 64))
_CODES = {"short_message", "bad_tag", "cut_short"}

SEEDS = [
    b"\x05" + b"\x00\x05hello" + b"\x00\x00" + b"\x00\x03abc",
    b"\x01" + b"\x00\x05hello" + b"\x80\x14" + bytes(20),
    b"\xff" + b"\x01\x00" + bytes(256) + b"\x80\x02\x00\x00",
    b"\x03" + b"\x00\x02hi" + b"\x80\x01\x00",
]


def _wire(data: bytes) -> tuple[bytes, list[bytes], bool]:
    alice = NoiseTransport(_ALICE, _BOB)
    wire, texts, honest = bytearray(), [], True
    while len(data) >= 2:
        length = int.from_bytes(data[:2], "big")
        text, data = data[2 : 2 + (length & 0x7FFF)], data[2 + (length & 0x7FFF) :]
        if length & 0x8000:
            wire += text
            honest = honest and not text
        else:
            wire += alice.send(text)
            if honest and text:
                texts.append(text)
    return bytes(wire), texts, honest


def target(data: bytes) -> None:
    """What was sent before the first change arrives, whatever the pieces; a change is noticed."""
    if not data:
        return
    wire, texts, honest = _wire(data[1:8192])
    bob = NoiseTransport(_BOB, _ALICE)
    received: list[bytes] = []
    size = data[0] or 256
    code = ""
    try:
        for start in range(0, len(wire), size):
            received += bob.receive(wire[start : start + size])
        bob.receive_eof()
    except RemoteProtocolError as error:
        code = error.code
    assert received == texts[: len(received)]
    if honest:
        assert not code
        assert received == texts
    if code:
        assert code in _CODES
        assert bob.receive(wire) == []

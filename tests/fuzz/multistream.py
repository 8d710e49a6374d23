"""multistream-select. The first byte says who reads (listener, dialer) and into what pieces the rest is cut.

What is left unread of a negotiation is the protocol's, whatever the pieces: not a byte may be lost or made up.
"""

from __future__ import annotations

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.multistream.dialer import Dialer
from nexusd_protocols.multistream.listener import Listener
from nexusd_protocols.multistream.messages import HEADER, LS, NA, encode

_CODES = {
    "bad_length", "message_too_long", "no_line_feed", "not_utf8", "cut_short", "bad_header", "unexpected_answer",
    "too_many_proposals",
}  # fmt: skip
_SERVED = ("/a/1", "/b/1", "/multistream/1.0.0/x")

SEEDS = [
    b"\x02" + encode(HEADER) + encode("/b/1") + b"data",
    b"\x0e" + encode(HEADER) + encode(LS) + encode("/x") + encode(HEADER) + encode("/a/1"),
    b"\x06" + encode(HEADER) + encode("/x") * 65,
    b"\x03" + encode(HEADER) + encode("/a/1") + b"answer",
    b"\x0f" + encode(HEADER) + encode(NA) + encode("/b/1"),
    b"\x01" + encode(HEADER) + encode(NA) * 2,
    b"\x00\x13/multistream/1.0.0\n\x04\xff\xfe\xfd\n",
]


def _machine(data: bytes) -> Dialer | Listener:
    return Dialer(["/a/1", "/b/1"]) if data[0] % 2 else Listener(_SERVED)


def _run(machine: Dialer | Listener, wire: bytes, size: int) -> tuple[object, ...]:
    said = b""
    refused = ""
    try:
        for start in range(0, len(wire), size):
            if machine.agreed is not None:
                return said, machine.agreed, machine.ahead + wire[start:]
            said += machine.receive(wire[start : start + size])
        if machine.agreed is None:
            machine.receive_eof()
    except RemoteProtocolError as error:
        refused = error.code
    if refused:
        assert refused in _CODES
        assert machine.receive(wire) == b""
        return refused, machine.agreed
    return said, machine.agreed, machine.ahead


def target(data: bytes) -> None:
    """The outcome is the same whatever the pieces."""
    if not data:
        return
    wire = data[1:8192]
    whole = _run(_machine(data), wire, max(1, len(wire)))
    assert _run(_machine(data), wire, data[0] // 2 or 1) == whole
    if len(whole) == 3 and whole[1] is not None:
        assert wire.endswith(whole[2])
        assert encode(whole[1]) in wire

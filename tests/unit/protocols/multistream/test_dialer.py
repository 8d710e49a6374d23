"""The side that proposes."""

from __future__ import annotations

import pytest

from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.multistream.dialer import Dialer
from nexusd_protocols.multistream.messages import HEADER, NA, encode

GREETING = encode(HEADER)


def test_header_and_proposal_are_one_flight():
    assert Dialer(["/a", "/b"]).start() == GREETING + encode("/a")


def test_agreement_gives_what_follows():
    dialer = Dialer(["/a"])
    assert dialer.receive(GREETING + encode("/a") + b"answer") == b""
    assert (dialer.agreed, dialer.refused, dialer.ahead) == ("/a", False, b"answer")
    assert dialer.receive(b"what follows is not for it") == b""
    assert dialer.ahead == b"answer"


def test_the_next_is_proposed_until_none_is_left():
    dialer = Dialer(["/a", "/b"])
    assert dialer.receive(GREETING) == b""
    assert dialer.receive(encode(NA)) == encode("/b")
    assert not dialer.refused
    assert dialer.receive(encode(NA)) == b""
    assert dialer.refused
    assert dialer.agreed is None
    assert dialer.receive(encode("/b")) == b""
    assert dialer.agreed is None


def test_a_byte_at_a_time():
    dialer = Dialer(["/a", "/b"])
    sent = b""
    for octet in GREETING + encode(NA) + encode("/b"):
        sent += dialer.receive(bytes([octet]))
    assert sent == encode("/b")
    assert (dialer.agreed, dialer.ahead) == ("/b", b"")


@pytest.mark.parametrize(
    ("wire", "code", "penalty"),
    [
        (encode("/multistream/2.0.0"), "bad_header", 1),
        (encode(NA), "bad_header", 1),
        (GREETING + encode("/b"), "unexpected_answer", 10),
        (GREETING + GREETING, "unexpected_answer", 10),
        (GREETING + b"\x00", "bad_length", 10),
    ],
)
def test_what_is_refused_and_then_nothing_is_read(wire, code, penalty):
    dialer = Dialer(["/a", "/b"])
    with pytest.raises(RemoteProtocolError) as caught:
        dialer.receive(wire)
    assert (caught.value.code, caught.value.penalty) == (code, penalty)
    assert dialer.receive(GREETING + encode("/a")) == b""
    assert dialer.agreed is None
    dialer.receive_eof()


def test_an_end_within_a_message():
    dialer = Dialer(["/a"])
    dialer.receive(GREETING[:-1])
    with pytest.raises(RemoteProtocolError, match="cut_short"):
        dialer.receive_eof()


def test_an_end_between_messages_is_for_the_caller_to_judge():
    dialer = Dialer(["/a"])
    dialer.receive(GREETING)
    dialer.receive_eof()
    assert dialer.agreed is None


def test_nothing_to_propose():
    with pytest.raises(LocalProtocolError):
        Dialer([])

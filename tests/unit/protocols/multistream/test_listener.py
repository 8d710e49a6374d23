"""The side that chooses."""

from __future__ import annotations

import pytest

from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.multistream.dialer import Dialer
from nexusd_protocols.multistream.listener import Listener
from nexusd_protocols.multistream.messages import HEADER, LS, NA, encode, encode_list

GREETING = encode(HEADER)
SERVED = ["/a", "/b"]


def test_header_and_agreement_are_one_flight_and_nothing_that_follows_is_lost():
    listener = Listener(SERVED)
    assert listener.receive(GREETING + encode("/b") + b"data" + encode("/a")) == GREETING + encode("/b")
    assert (listener.agreed, listener.ahead) == ("/b", b"data" + encode("/a"))
    assert listener.receive(b"more") == b""
    assert listener.ahead == b"data" + encode("/a")


def test_who_sends_the_header_alone_is_greeted():
    listener = Listener(SERVED)
    assert listener.receive(GREETING) == GREETING
    assert listener.receive(encode("/x")) == encode(NA)
    assert listener.receive(encode("/a")) == encode("/a")
    assert listener.agreed == "/a"


def test_a_byte_at_a_time():
    listener = Listener(SERVED)
    sent = b"".join(listener.receive(bytes([octet])) for octet in GREETING + encode("/x") + encode("/a"))
    assert sent == GREETING + encode(NA) + encode("/a")


def test_a_second_header_is_a_new_beginning():
    listener = Listener(SERVED)
    assert listener.receive(GREETING + encode("/x") + GREETING) == GREETING + encode(NA) + GREETING
    assert listener.receive(encode("/a")) == encode("/a")


def test_the_list_is_given_once():
    listener = Listener(SERVED)
    assert listener.receive(GREETING + encode(LS)) == GREETING + encode_list(SERVED)
    assert listener.receive(encode(LS)) == encode(NA)
    assert listener.agreed is None


def test_proposals_are_counted():
    listener = Listener(SERVED)
    most = limits.MULTISTREAM_PROPOSALS
    assert listener.receive(GREETING + encode("/x") * most) == GREETING + encode(NA) * most
    with pytest.raises(RemoteProtocolError) as caught:
        listener.receive(encode("/a"))
    assert (caught.value.code, caught.value.penalty) == ("too_many_proposals", 1)
    assert listener.receive(encode("/a")) == b""
    assert listener.agreed is None


@pytest.mark.parametrize("wire", [encode("/a"), encode("/multistream/1.0.1"), encode("")])
def test_another_header(wire):
    listener = Listener(SERVED)
    with pytest.raises(RemoteProtocolError) as caught:
        listener.receive(wire)
    assert (caught.value.code, caught.value.penalty) == ("bad_header", 1)
    listener.receive_eof()


def test_an_end_is_a_fault_only_within_a_message():
    Listener(SERVED).receive_eof()
    listener = Listener(SERVED)
    listener.receive(GREETING + encode("/x"))
    listener.receive_eof()
    listener.receive(b"\x05")
    with pytest.raises(RemoteProtocolError, match="cut_short"):
        listener.receive_eof()


def test_both_sides_agree():
    dialer, listener = Dialer(["/x", "/y", "/b"]), Listener(SERVED)
    flights = 0
    there = dialer.start()
    while there:
        flights += 1
        there = dialer.receive(listener.receive(there))
    assert dialer.agreed == listener.agreed == "/b"
    assert flights == 3

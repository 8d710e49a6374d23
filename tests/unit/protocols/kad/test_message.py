from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits, varint
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.kad import kademlia_pb2 as pb
from nexusd_protocols.kad.contact import Contact
from nexusd_protocols.kad.message import Kind, Message, MessageStream, Record, decode, encode
from tests.harness.kad import contact, peer, tcp

CONTACTS = st.lists(
    st.builds(
        Contact,
        st.integers(0, 50).map(peer),
        st.lists(st.binary(min_size=1, max_size=40), max_size=5, unique=True).map(tuple),
    ),
    max_size=5,
    unique_by=lambda c: c.peer,
).map(tuple)
KEYS = st.binary(max_size=limits.KAD_KEY_BYTES)
MESSAGES = st.builds(
    Message,
    st.sampled_from(Kind),
    KEYS,
    st.none() | st.builds(Record, KEYS, st.binary(max_size=300)),
    CONTACTS,
    CONTACTS,
)


@given(MESSAGES)
def test_what_is_encoded_is_decoded(message):
    assert decode(encode(message)) == message


@given(st.lists(MESSAGES, max_size=4), st.data())
def test_messages_split_and_merged_anywhere(messages, data):
    wire = b"".join(MessageStream().send(message) for message in messages)
    stream, found = MessageStream(), []
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=8))
    for start, end in pairwise([0, *sorted(cuts), len(wire)]):
        found += stream.receive(wire[start:end])
    assert found == messages
    assert stream.receive_eof() == []


def test_the_time_of_a_record_is_told_in_rfc_3339():
    wire = pb.Message.FromString(encode(Message(Kind.PUT_VALUE, b"k", Record(b"k", b"v", 1_800_000_000_123))))
    assert wire.record.time_received == "2027-01-15T08:00:00.123000000Z"


def test_what_is_no_fault_is_left_out():
    wire = pb.Message(type="FIND_NODE")
    wire.closer_peers.add(id=b"\x12\x20" + b"r" * 32)  # an RSA key's
    wire.closer_peers.add(id=bytes.fromhex("002408011220") + b"k" * 32, addrs=[b"", b"x" * 300, tcp("8.8.8.8")])
    (found,) = decode(wire.SerializeToString()).closer
    assert found.addresses == (tcp("8.8.8.8"),)


def test_lists_are_bounded():
    wire = pb.Message(type="FIND_NODE")
    for number in range(1000):
        wire.closer_peers.add(id=bytes.fromhex("002408011220") + number.to_bytes(32, "big"), addrs=[b"x"] * 100)
    found = decode(wire.SerializeToString()).closer
    assert len(found) == limits.KAD_PEERS
    many = pb.Message(type="FIND_NODE")
    many.closer_peers.add(id=bytes.fromhex("002408011220") + bytes(32), addrs=[b"%d" % n for n in range(100)])
    assert len(decode(many.SerializeToString()).closer[0].addresses) == limits.KAD_ADDRESSES


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\xff" * 20, "bad_protobuf"),
        (pb.Message(type=77).SerializeToString(), "unknown_type"),
        (pb.Message(key=b"k" * 257).SerializeToString(), "bad_key"),
        (pb.Message(record=pb.Record(key=b"k" * 257)).SerializeToString(), "record_too_large"),
        (pb.Message(record=pb.Record(value=b"v" * 65_537)).SerializeToString(), "record_too_large"),
    ],
)
def test_refused(wire, code):
    with pytest.raises(RemoteProtocolError) as caught:
        decode(wire)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\xff" * 10, "bad_length"),
        (varint.encode(limits.KAD_MESSAGE_BYTES + 1), "too_large"),
        (varint.encode(1 << 40), "too_large"),
    ],
)
def test_lengths_that_lie(wire, code):
    with pytest.raises(RemoteProtocolError) as caught:
        MessageStream().receive(wire)
    assert caught.value.code == code


def test_an_end_within_a_message():
    stream = MessageStream()
    stream.receive(MessageStream().send(Message(Kind.PING))[:-1])
    with pytest.raises(RemoteProtocolError, match="truncated"):
        stream.receive_eof()


def test_the_fullest_answer_fits():
    fullest = tuple(Contact(peer(n), tuple(bytes([n, m]) * 30 for m in range(limits.KAD_ADDRESSES))) for n in range(40))
    record = Record(b"k" * limits.KAD_KEY_BYTES, b"v" * limits.KAD_RECORD_BYTES)
    message = Message(Kind.GET_VALUE, record.key, record, fullest[:20], fullest)
    assert MessageStream().receive(MessageStream().send(message)) == [message]


def test_contacts_are_told_once():
    twice = Message(Kind.FIND_NODE, b"k", closer=(contact(1), contact(1)))
    assert decode(encode(twice)).closer == (contact(1),)

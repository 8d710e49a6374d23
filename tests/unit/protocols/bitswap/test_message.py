from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits, varint
from nexusd_protocols.bitswap import message_pb2 as pb
from nexusd_protocols.bitswap.message import Kind, Message, MessageStream, Payload, Want, decode, encode
from nexusd_protocols.content.cid import DAG_PB, RAW, Cid
from nexusd_protocols.errors import RemoteProtocolError
from tests.harness.bitswap import block, cid_of

CIDS = st.builds(Cid, st.sampled_from([RAW, DAG_PB, 0x71, 0x0200, 1 << 40]), st.binary(min_size=32, max_size=32)) | (
    st.builds(Cid, st.just(DAG_PB), st.binary(min_size=32, max_size=32), st.just(0))
)
PAYLOADS = st.builds(
    lambda codec, data: Payload(Cid.of(codec, data), data), st.sampled_from([RAW, DAG_PB, 0x71]), st.binary(max_size=99)
)


@st.composite
def messages(draw) -> Message:
    named = draw(st.lists(CIDS, max_size=6, unique_by=lambda cid: cid.digest))
    split = draw(st.integers(0, len(named)))
    wants = tuple(
        Want(cid, draw(st.sampled_from(Kind)), draw(st.integers(-(2**31), 2**31 - 1)), draw(st.booleans()))
        for cid in named[:split]
    )
    words = st.lists(CIDS, max_size=4).map(tuple)
    blocks = draw(st.lists(PAYLOADS, max_size=4).map(tuple))
    return Message(wants, tuple(named[split:]), draw(st.booleans()), blocks, draw(words), draw(words))


@given(messages())
def test_what_is_encoded_is_decoded(message):
    assert decode(encode(message)) == message


@given(st.lists(messages(), max_size=4), st.data())
def test_messages_split_and_merged_anywhere(sent, data):
    wire = b"".join(MessageStream().send(message) for message in sent)
    stream, found = MessageStream(), []
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=8))
    for start, end in pairwise([0, *sorted(cuts), len(wire)]):
        found += stream.receive(wire[start:end])
    assert found == sent
    assert stream.receive_eof() == []


def test_what_is_foreign_is_answered_by_its_bytes():
    raw = encode(Message(foreign=(b"\x01\x55\x13\x02hi",)))
    words = pb.Message.FromString(raw).blockPresences
    assert [(word.cid, word.type) for word in words] == [(b"\x01\x55\x13\x02hi", pb.Message.DontHave)]
    assert decode(raw) == Message(), "such a word is of no use to a reader"


def entry(**fields) -> pb.Message.Wantlist.Entry:
    return pb.Message.Wantlist.Entry(**fields)


def wire_of(*entries, **fields) -> bytes:
    return pb.Message(wantlist=pb.Message.Wantlist(entries=entries), **fields).SerializeToString()


def test_a_foreign_want_that_wants_no_answer_is_left_out():
    foreign = b"\x01\x55\x13\x02hi"
    assert decode(wire_of(entry(block=foreign))).foreign == ()
    assert decode(wire_of(entry(block=foreign, sendDontHave=True, cancel=True))).foreign == ()
    assert decode(wire_of(*[entry(block=foreign, sendDontHave=True)] * 3)).foreign == (foreign,)


def test_kinds_that_nobody_knows_are_blocks():
    (want,) = decode(wire_of(entry(block=cid_of(1).encode(), wantType=7))).wants
    assert want.kind is Kind.BLOCK


def test_lists_are_bounded():
    many = [entry(block=cid_of(number).encode()) for number in range(limits.BITSWAP_ENTRIES + 9)]
    words = [pb.Message.BlockPresence(cid=each.block) for each in many]
    message = decode(wire_of(*many, blockPresences=words))
    assert len(message.wants) == len(message.haves) == limits.BITSWAP_ENTRIES


@pytest.mark.parametrize(
    "raw",
    [
        # an empty want takes two bytes
        b"\x0a" + varint.encode(2 * limits.BITSWAP_FIELDS) + b"\x0a\x00" * limits.BITSWAP_FIELDS,
        # as do an empty word and an empty block
        b"\x22\x00" * (limits.BITSWAP_FIELDS + 1),
        b"\x1a\x00" * (limits.BITSWAP_FIELDS + 1),
        # and the same hidden in many lists
        b"\x0a\x04\x0a\x00\x0a\x00" * (limits.BITSWAP_FIELDS // 2),
    ],
)
def test_more_entries_than_bytes_are_not_parsed(raw, monkeypatch):
    monkeypatch.setattr(pb.Message, "FromString", lambda _raw: pytest.fail("it was parsed"))
    with pytest.raises(RemoteProtocolError) as caught:
        decode(raw)
    assert (caught.value.code, caught.value.penalty) == ("too_many_entries", 10)


def test_a_block_may_be_so_large_and_no_larger():
    largest = block(1, limits.BLOCK_BYTES)
    assert decode(encode(Message(blocks=(largest,)))).blocks == (largest,)
    with pytest.raises(RemoteProtocolError) as caught:
        decode(encode(Message(blocks=(block(1, limits.BLOCK_BYTES + 1),))))
    assert (caught.value.code, caught.value.penalty) == ("block_too_large", 1)


def test_a_message_is_refused_by_its_length_before_it_comes():
    stream = MessageStream()
    with pytest.raises(RemoteProtocolError) as caught:
        stream.receive(varint.encode(limits.BITSWAP_MESSAGE_BYTES + 1))
    assert caught.value.code == "too_large"


def test_a_message_that_comes_by_the_octet_takes_no_more_memory():
    stream = MessageStream()
    wire = stream.send(Message(blocks=(block(1, 20_000),)))
    for at in range(len(wire) - 1):
        assert stream.receive(wire[at : at + 1]) == []
    assert len(stream._chunks) <= len(wire) / 1024 + 1
    assert stream.receive(wire[-1:]) == [Message(blocks=(block(1, 20_000),))]


def test_so_many_messages_of_one_buffer_at_a_time():
    stream = MessageStream()
    assert len(stream.receive(b"\x00" * (limits.LINES_PER_READ + 1))) == limits.LINES_PER_READ
    assert stream.receive(b"") == [Message()]


def test_entries_say_how_much_there_is_to_do():
    message = Message(
        (Want(cid_of(1)),), (cid_of(2),), True, (block(3),), (cid_of(4),), (cid_of(5), cid_of(6)), (b"f",), 2
    )
    assert message.entries == 9
    assert Message().entries == 0

"""Messages of multistream-select, one at a time out of a stream that is cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.multistream.messages import HEADER, MessageReader, encode, encode_list

MOST = limits.MULTISTREAM_MESSAGE_BYTES
TEXT = st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=200)


def test_the_header_is_the_specifications():
    assert encode(HEADER) == b"\x13/multistream/1.0.0\n"


@given(st.lists(TEXT, max_size=5), st.binary(max_size=20), st.integers(1, 30))
def test_what_is_encoded_is_read_however_it_is_cut(texts, rest, size):
    wire = b"".join(map(encode, texts)) + rest
    reader = MessageReader()
    read = []
    for start in range(0, len(wire), size):
        reader.feed(wire[start : start + size])
        while len(read) < len(texts) and (text := reader.take()) is not None:
            read.append(text)
    assert read == texts
    assert reader.rest() == rest
    assert len(reader) == 0


def test_a_list_holds_messages():
    wire = encode_list(["/a", "/bb"])
    assert wire == b"\x0a" + b"\x03/a\n" + b"\x04/bb\n" + b"\n"
    assert len(encode_list(f"/protocol/{number}" for number in range(100))) > 1024


@pytest.mark.parametrize("size", [127, 128, MOST])
def test_lengths_at_the_border_of_a_varint(size):
    reader = MessageReader()
    text = "x" * (size - 1)
    reader.feed(encode(text))
    assert reader.take() == text


@pytest.mark.parametrize("text", ["a\nb", "\n", "x" * MOST])
def test_what_no_reader_takes_is_not_sent(text):
    with pytest.raises(LocalProtocolError):
        encode(text)


@pytest.mark.parametrize("wire", [b"", b"\x13", b"\x80", b"\x13/multistream/1.0.0"])
def test_an_incomplete_message_is_waited_for(wire):
    reader = MessageReader()
    reader.feed(wire)
    assert reader.take() is None
    assert len(reader) == len(wire)


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\x00", "bad_length"),
        (b"\x80\x00", "bad_length"),
        (b"\x83\x00/a\n", "bad_length"),
        (b"\x81\x08", "message_too_long"),
        (b"\xff\xff", "message_too_long"),
        (b"\x03/ab", "no_line_feed"),
        (b"\x04\xff\xfe\xfd\n", "not_utf8"),
        (b"\x04\xed\xa0\x80\n", "not_utf8"),
    ],
)
def test_what_is_refused(wire, code):
    reader = MessageReader()
    reader.feed(wire)
    with pytest.raises(RemoteProtocolError) as caught:
        reader.take()
    assert (caught.value.code, caught.value.penalty) == (code, 10)

"""Lines out of streams, and strict JSON out of lines."""

from __future__ import annotations

import itertools
import json
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.ndjson import LineBuffer, decode, encode, encode_line, json_size, too_deep


class Thing(msgspec.Struct, frozen=True):
    name: str
    size: int = 0


things = msgspec.json.Decoder(Thing)
unicode = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | unicode,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(unicode, children, max_size=4),
    max_leaves=30,
)


# --- decoding -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("data", "code", "penalty"),
    [
        (b"", "bad_json", 5),
        (b"hello", "bad_json", 5),
        (b'{"name":NaN}', "bad_json", 5),
        (b'{"name":"x","y":NaN}', "bad_json", 5),
        (b'{"name":"x","y":Infinity}', "bad_json", 5),
        (b'{"name":"\xff"}', "bad_json", 5),
        (b'{"name":"x","y":"\xff"}', "bad_json", 5),
        (b'{"name":"x","\xff":1}', "bad_json", 5),
        (b'{"name":"\xed\xa0\x80"}', "bad_json", 5),
        (b'{"name":"\\ud800"}', "bad_json", 5),
        (b'{"name":"x"} {"name":"y"}', "bad_json", 5),
        (b'{"name":"x"', "bad_json", 5),
        (b"\xef\xbb\xbf{}", "bad_json", 5),
        (b'{"name":"a\nb"}', "bad_json", 5),
        (b"[]", "bad_message", 1),
        (b"{}", "bad_message", 1),
        (b'{"name":1}', "bad_message", 1),
        (b'{"name":"x","size":1e400}', "bad_message", 1),
        (b'{"name":"x","size":"1"}', "bad_message", 1),
        (b"[" * 10_000, "too_deep", 10),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too_deep", 10),
    ],
)
def test_what_does_not_decode(data, code, penalty):
    with pytest.raises(RemoteProtocolError) as caught:
        decode(data, things, reply=b"no\n")
    assert (caught.value.code, caught.value.penalty, caught.value.reply) == (code, penalty, b"no\n")


def test_unknown_fields_are_passed_over_and_the_last_of_two_counts():
    assert decode('{"name":"a","mood":"☀","name":"b"}'.encode(), things) == Thing("b")


@given(values)
def test_whatever_is_encoded_decodes(value):
    line = encode_line(value)
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]
    assert json.loads(line) == value
    assert encode(value) == line[:-1]


@pytest.mark.parametrize(("value", "size"), [("é", 2), ("", 0), ({"a": 1}, 7), (None, 4), (["é"], 6)])
def test_json_size(value, size):
    assert json_size(value) == size


# --- depth ----------------------------------------------------------------------------------------------------------
def depth_of(value):
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 0


@pytest.mark.parametrize("depth", [1, 2, 31, 32, 33, 34, 64, 65, 1000])
@pytest.mark.parametrize(("opens", "closes"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"[":', b"}]")])
def test_nesting_to_the_level(depth, opens, closes):
    levels = depth * (2 if opens[0:1] == b"[" and len(opens) > 1 else 1)
    data = opens * depth + b"1" + closes * depth
    assert too_deep(data) == (levels > 32)


@given(values, st.integers(1, 6))
@settings(deadline=None)
def test_depth_of_any_json(value, depth):
    assert too_deep(json.dumps(value).encode(), depth) == (depth_of(value) > depth)


def test_brackets_in_strings_do_not_count():
    assert not too_deep(json.dumps(["[" * 100, '\\"{{' * 100, '"' + "[" * 99, "\\"]).encode())


@given(st.text('[]{}"\\a,', max_size=200).map(str.encode))
@settings(deadline=None)
def test_what_is_not_too_deep_is_safe_to_decode(data):
    if not too_deep(data, 8):
        level = deepest = 0
        quoted = skip = False
        for character in data.decode():
            if skip:
                skip = False
            elif quoted:
                skip, quoted = character == "\\", character != '"'
            elif character == '"':
                quoted = True
            elif character in "[{":
                level += 1
                deepest = max(deepest, level)
            elif character in "]}":
                level -= 1
                if level < 0:
                    break  # a decoder stops here
        assert deepest <= 16


# --- lines ----------------------------------------------------------------------------------------------------------
def feed(buffer, data, cuts):
    lines = []
    for start, end in itertools.pairwise([0, *cuts, len(data)]):
        buffer.feed(data[start:end])
        lines += buffer.lines()
    return lines


@given(
    st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)),
    st.sampled_from([b"\n", b"\r\n"]),
    st.data(),
)
def test_lines_come_out_however_they_were_split(lines, end, data):
    stream = b"".join(line + end for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    buffer = LineBuffer(100)
    expected = [cut for line in stream.split(b"\n")[:-1] if (cut := line.removesuffix(b"\r"))]
    assert feed(buffer, stream, cuts) == expected
    assert buffer.pending() == 0


def test_lines_may_be_taken_a_few_at_a_time():
    buffer = LineBuffer(100)
    buffer.feed(b"a\nb\nc\nd")
    assert list(itertools.islice(buffer.lines(), 2)) == [b"a", b"b"]
    buffer.feed(b"e\n")
    assert list(buffer.lines()) == [b"c", b"de"]
    assert buffer.pending() == 0


def test_bytes_may_come_while_lines_are_taken():
    buffer = LineBuffer(100)
    buffer.feed(b"a\nb")
    taken = []
    for line in buffer.lines():
        taken.append(line)
        if line == b"a":
            buffer.feed(b"c\nd")
    assert taken == [b"a", b"bc"]
    assert buffer.pending() == 1


@pytest.mark.parametrize("data", [b"x" * 11 + b"\n", b"x" * 11, b"ok\n" + b"x" * 11 + b"\nmore\n", b"ok\n" + b"x" * 11])
def test_a_line_over_the_limit(data):
    buffer = LineBuffer(10)
    buffer.feed(data)
    taken = []
    with pytest.raises(RemoteProtocolError) as caught:
        taken += buffer.lines(reply=b"no\n")
    assert (caught.value.code, caught.value.penalty, caught.value.reply) == ("line_too_long", 10, b"no\n")


def test_a_line_at_the_limit():
    buffer = LineBuffer(10)
    buffer.feed(b"x" * 10 + b"\n" + b"y" * 10)
    assert list(buffer.lines()) == [b"x" * 10]
    assert buffer.pending() == 10


class CountingBuffer(bytearray):
    """Counts the bytes that are searched and moved: time without a clock."""

    looked_at = 0

    def find(self, what, start=0):
        at = super().find(what, start)
        CountingBuffer.looked_at += (len(self) if at < 0 else at + 1) - start
        return at

    def __contains__(self, what):
        CountingBuffer.looked_at += len(self)
        return super().__contains__(what)


@pytest.fixture
def counted():
    buffer = LineBuffer(1 << 30)
    CountingBuffer.looked_at = 0
    buffer._buffer = CountingBuffer()
    return buffer


def test_an_unfinished_line_of_10_mb_in_small_pieces_is_looked_at_once(counted):
    piece = b"x" * 1024
    for _ in range(10_000):
        counted.feed(piece)
        assert list(counted.lines()) == []
    assert counted.pending() == 10_240_000
    assert CountingBuffer.looked_at <= 10_240_000


@pytest.mark.slow
def test_a_million_tiny_lines_are_looked_at_once(counted):
    data = b"1\n" * 1_000_000
    count = 0
    for start in range(0, len(data), 65536):
        counted.feed(data[start : start + 65536])
        while taken := list(itertools.islice(counted.lines(), 4096)):
            count += len(taken)
    assert count == 1_000_000
    assert CountingBuffer.looked_at <= len(data)


def test_random_streams_split_at_random():
    seed = 20260
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(200):
        lines = [bytes(rng.choices(b"ab\r", k=rng.randrange(6))) for _ in range(rng.randrange(20))]
        stream = b"".join(line + b"\n" for line in lines)
        cuts = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.randrange(10)))
        expected = [cut for line in lines if (cut := line.removesuffix(b"\r"))]
        assert feed(LineBuffer(50), stream, cuts) == expected

"""Frames against specs/chat-sync.md §4: one frame has one encoding, and nothing else is read as it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols import limits, varint
from nexusd_protocols.chatsync import codec
from nexusd_protocols.chatsync.frames import (
    Compare,
    Frame,
    Head,
    Headed,
    Messages,
    Open,
    Opened,
    Put,
    Refused,
    Took,
    Want,
    deliveries,
    puts,
)
from nexusd_protocols.chatsync.index import Item, Key, Summary
from nexusd_protocols.chatsync.ranges import Batches, Fingerprint, Items, Ranges, Skip
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.cid import DAG_CBOR, RAW, Cid
from nexusd_protocols.errors import LimitExceededError, RemoteProtocolError
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.bounds import HOUR_MS
from nexusd_protocols.ids import RoomId
from tests.harness.examples import examples

CID = Cid(DAG_CBOR, b"\x01" * 32)
HOUR = 488_888
A, B = b"\xaa" * 32, b"\xbb" * 32

RANGES = Ranges(
    Key(HOUR * HOUR_MS, b""),
    (
        Skip(Key(HOUR * HOUR_MS, b"\x80")),
        Fingerprint.of(Key(HOUR * HOUR_MS + 7, b""), Summary(1000, 12345)),
        Items(
            Key((HOUR + 1) * HOUR_MS, b""),
            (Item(HOUR * HOUR_MS + 9, A), Item(HOUR * HOUR_MS + 9, B, gone=True), Item(HOUR * HOUR_MS + 99, A)),
        ),
        Items(Key((HOUR + 2) * HOUR_MS, b""), ()),
        Batches(
            Key((HOUR + 5) * HOUR_MS, b""),
            (BatchRef(HOUR + 2, 0, CID, 100), BatchRef(HOUR + 2, 1, CID, 7), BatchRef(HOUR + 4, 0, CID, 60)),
        ),
    ),
)
FRAMES: list[Frame] = [
    Open(RoomId("lab"), 1_704_067_200_000),
    Opened(1_704_067_200_000, CID, 1_000_000),
    Opened(0, None, 0),
    Refused("not_joined"),
    Compare(RANGES),
    Want((A, B)),
    Messages((b"one", b"two"), (A,), last=False),
    Messages((), (), last=True),
    Put((b"one",)),
    Took(3, ((A, "known"), (B, "quota_exceeded"))),
    Took(0, ()),
    Head(HOUR, HOUR + 24),
    Headed(CID, 12),
    Headed(None, 0),
]


def decoded(data: bytes) -> Frame | str:
    """A frame, or the code of its refusal."""
    try:
        return codec.decode(data)
    except RemoteProtocolError as error:
        return error.code


def framed(value: object) -> bytes:
    return dag_cbor.encode(value)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_round_trip(frame):
    raw = codec.encode(frame)
    (data,) = codec.FrameBuffer().feed(raw)
    assert codec.decode(data) == frame


@given(st.sampled_from(FRAMES), st.data())
@settings(deadline=None, max_examples=examples(400))
def test_a_changed_frame_is_refused_or_is_another_frame_that_encodes_so(frame, data):
    raw = bytearray(codec.encode(frame)[codec.varint.read(codec.encode(frame), 0)[1] :])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change" if at < len(raw):
                raw[at] = data.draw(st.integers(0, 255))
            case "cut":
                del raw[at : at + data.draw(st.integers(1, 9))]
            case _:
                raw[at:at] = data.draw(st.binary(min_size=1, max_size=4))
    read = decoded(bytes(raw))
    if isinstance(read, str):
        return
    (again,) = codec.FrameBuffer().feed(codec.encode(read))
    assert again == raw


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_name(data):
    assert decoded(data)


def ranges_frame(*rows: object, lower: object = (5, b"")) -> dict:
    return {"type": "ranges", "lower": list(lower), "ranges": list(rows)}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"type": 7},
        {"type": "hello"},
        {"type": "open", "room": "lab"},
        {"type": "open", "room": "lab", "horizon": 1, "more": 2},
        {"type": "open", "room": "../lab", "horizon": 1},
        {"type": "open", "room": b"lab", "horizon": 1},
        {"type": "open", "room": "lab", "horizon": -1},
        {"type": "open", "room": "lab", "horizon": True},
        {"type": "open", "room": "lab", "horizon": 1 << 53},
        {"type": "opened", "horizon": 1, "head": Cid(RAW, A), "count": 1},
        {"type": "opened", "horizon": 1, "head": "bafy", "count": 1},
        {"type": "refused", "code": ""},
        {"type": "refused", "code": "x" * 65},
        {"type": "refused", "code": "\x1b[2J"},
        {"type": "want", "digests": b""},
        {"type": "want", "digests": A[1:]},
        {"type": "want", "digests": A + A},
        {"type": "want", "digests": b"".join(n.to_bytes(32, "big") for n in range(257))},
        {"type": "want", "digests": [A]},
        {"type": "messages", "messages": [], "absent": b"", "last": 1},
        {"type": "messages", "messages": [b""], "absent": b"", "last": True},
        {"type": "messages", "messages": ["text"], "absent": b"", "last": True},
        {"type": "messages", "messages": [b"m"] * 257, "absent": b"", "last": True},
        {"type": "put", "messages": []},
        {"type": "put", "messages": b"m"},
        {"type": "took", "stored": 1, "refused": [[A]]},
        {"type": "took", "stored": 1, "refused": [[A[1:], "known"]]},
        {"type": "took", "stored": 1, "refused": [[A, "known"], [A, "known"]]},
        {"type": "took", "stored": 1, "refused": [[A, 1]]},
        {"type": "head", "first": 1, "last": "2"},
        {"type": "headed", "head": CID, "count": None},
        ranges_frame([1, b""], lower=(5,)),
        ranges_frame([1, b""], lower=(5, "")),
        ranges_frame([1, b""], lower=(5, b"\x00" * 33)),
        ranges_frame(1),
        ranges_frame([1]),
        ranges_frame([-1, b""]),
        ranges_frame([1, b"\x00" * 33]),
        ranges_frame([1, b"", 1, b"\x01" * 15]),
        ranges_frame([1, b"", -1, b"\x01" * 16]),
        ranges_frame([1, b"", [0], A + B, []]),
        ranges_frame([1, b"", [0, 0], A + B, [2]]),
        ranges_frame([1, b"", [0, 0], A + B, [1, 0]]),
        ranges_frame([1, b"", [0, 0], A + B, [0, 0]]),
        ranges_frame([1, b"", [0], A, [False]]),
        ranges_frame([1, b"", [], b"", [], 0]),
        ranges_frame([HOUR_MS * 9, b"", [[1, b"", b""]]]),
        ranges_frame([HOUR_MS * 9, b"", [[1, b"\x01\x01", A]]]),
        ranges_frame([HOUR_MS * 9, b"", [[1, b"\x01"]]]),
        ranges_frame([HOUR_MS * 9, b"", [7]]),
    ],
)  # fmt: skip
def test_what_is_no_frame_is_refused(value):
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode(framed(value))
    assert (caught.value.code, caught.value.penalty) == ("bad_frame", 10)


def test_ranges_that_cannot_be_meant_are_refused_as_they_are_read():
    with pytest.raises(RemoteProtocolError, match="unsorted_ranges"):
        codec.decode(framed(ranges_frame([0, b""])))
    with pytest.raises(RemoteProtocolError, match="too_many_ranges"):
        codec.decode(framed(ranges_frame(*([1, b"", 3, b"\x01" * 16] for _ in range(2049)))))
    with pytest.raises(RemoteProtocolError, match="bad_batches"):
        codec.decode(framed(ranges_frame([HOUR_MS * 9, b"", [[2, b"\x01", A], [2, b"\x01", A]]])))


@pytest.mark.parametrize("depth", [100, 2000])
def test_what_nests_deep_is_refused(depth):
    with pytest.raises(RemoteProtocolError, match="too_deep"):
        codec.decode(b"\x81" * depth + b"\x80")


def test_a_frame_that_is_too_large_is_not_sent():
    with pytest.raises(LimitExceededError) as caught:
        codec.encode(Put((b"x" * limits.SYNC_FRAME_BYTES,)))
    assert caught.value.limit == "frame"


# --- frames out of a stream -------------------------------------------------------------------------------------------
@given(st.lists(st.sampled_from(FRAMES), max_size=5), st.lists(st.integers(1, 60), min_size=1))
def test_frames_come_out_wherever_the_stream_is_cut(frames, cuts):
    raw = b"".join(map(codec.encode, frames))
    buffer = codec.FrameBuffer()
    found: list[Frame] = []
    at = 0
    while at < len(raw):
        size = cuts[at % len(cuts)]
        found += map(codec.decode, buffer.feed(raw[at : at + size]))
        at += size
    assert found == frames
    assert len(buffer) == 0


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (varint.encode(limits.SYNC_FRAME_BYTES + 1), "frame_too_large"),
        (b"\xff\xff\xff\xff", "frame_too_large"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "frame_too_large"),
        (b"\x80\x00", "bad_length"),
    ],
)
def test_a_length_that_nobody_means_is_refused(data, code):
    buffer = codec.FrameBuffer()
    assert buffer.feed(data[:1]) == []
    with pytest.raises(RemoteProtocolError) as caught:
        buffer.feed(data[1:])
    assert (caught.value.code, caught.value.penalty) == (code, 10)


# --- packing ----------------------------------------------------------------------------------------------------------
@given(st.lists(st.integers(1, 300_000), max_size=40), st.integers(0, 300))
@settings(deadline=None, max_examples=examples(30))
def test_messages_are_packed_into_frames_that_can_be_sent(sizes, small):
    rng = Random(len(sizes))
    messages = [rng.randbytes(8) * (size // 8 + 1) for size in sizes] + [rng.randbytes(9) for _ in range(small)]
    frames = list(puts(messages))
    assert [raw for frame in frames for raw in frame.messages] == messages
    for frame in frames:
        assert len(codec.encode(frame)) <= limits.SYNC_FRAME_BYTES
        assert 0 < len(frame.messages) <= limits.SYNC_WANTS


def test_a_want_is_answered_to_its_end_also_where_nothing_is_found():
    digests = [bytes([n]) * 32 for n in range(6)]
    found = {digest: digest[:1] * 400_000 for digest in digests[1:]}
    frames = list(deliveries(digests, found))
    assert [len(frame.messages) for frame in frames] == [2, 2, 1]
    assert [frame.last for frame in frames] == [False, False, True]
    assert frames[-1].absent == (digests[0],)
    assert list(deliveries(digests[:1], found)) == [Messages((), (digests[0],), last=True)]

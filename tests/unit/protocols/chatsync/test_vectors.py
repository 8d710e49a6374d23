"""The golden vectors of specs/chat-sync.md."""

from __future__ import annotations

import msgspec
import pytest

from nexusd_protocols.chatsync import codec
from nexusd_protocols.chatsync.frames import Compare
from nexusd_protocols.chatsync.index import Item, Key, summary_of
from nexusd_protocols.chatsync.ranges import Ranges, check_answer
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.errors import RemoteProtocolError
from tests.harness.vectors import named, vectors

VECTORS = vectors("chat-sync")


def plain(value: object) -> object:
    """A frame as the vectors write it."""
    match value:
        case bytes():
            return value.hex()
        case Cid():
            return str(value)
        case Key() | Item() | tuple():
            return [plain(each) for each in value]
        case msgspec.Struct():
            fields = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
            return {"is": type(value).__name__.lower()} | fields
        case _:
            return value


def ranges(text: str) -> Ranges:
    (body,) = codec.FrameBuffer().feed(bytes.fromhex(text))
    frame = codec.decode(body)
    assert isinstance(frame, Compare)
    return frame.ranges


@pytest.mark.parametrize("row", **named(VECTORS["fingerprints"]))
def test_a_fingerprint(row):
    summary = summary_of([Item(1, bytes.fromhex(digest)) for digest in row["digests"]])
    assert summary.count == len(row["digests"])
    assert summary.sum == int(row["sum"], 16)
    assert summary.fingerprint.hex() == row["fingerprint"]


@pytest.mark.parametrize("row", **named(VECTORS["frames"]))
def test_a_frame(row):
    (body,) = codec.FrameBuffer().feed(bytes.fromhex(row["bytes"]))
    frame = codec.decode(body)
    assert plain(frame) == row["frame"]
    assert codec.encode(frame).hex() == row["bytes"]


@pytest.mark.parametrize("row", **named(VECTORS["refused"]))
def test_a_body_that_is_refused(row):
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode(bytes.fromhex(row["body"]))
    assert (caught.value.code, caught.value.penalty) == (row["code"], 10)


@pytest.mark.parametrize("row", **named([row for row in VECTORS["answers"] if not row["code"]]))
def test_an_answer(row):
    check_answer(ranges(VECTORS["request"]), ranges(row["answer"]))


@pytest.mark.parametrize("row", **named([row for row in VECTORS["answers"] if row["code"]]))
def test_an_answer_that_is_refused(row):
    with pytest.raises(RemoteProtocolError) as caught:
        check_answer(ranges(VECTORS["request"]), ranges(row["answer"]))
    assert (caught.value.code, caught.value.penalty) == (row["code"], 10)

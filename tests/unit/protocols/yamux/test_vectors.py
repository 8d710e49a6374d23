"""The golden vectors."""

from __future__ import annotations

import pytest

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.yamux import frames
from tests.harness.vectors import named, vectors
from tests.harness.yamux import ACK, PING, SYN, WINDOW, everything, output, session

VECTORS = vectors("yamux")
TYPES = {
    "data": frames.DATA,
    "window_update": frames.WINDOW_UPDATE,
    "ping": frames.PING,
    "go_away": frames.GO_AWAY,
}


@pytest.mark.parametrize("row", **named(VECTORS["frames"]))
def test_frames(row):
    flags = sum(getattr(frames, name) for name in row["flags"])
    header = frames.pack_header(TYPES[row["type"]], flags, row["stream"], row["length"])
    assert header.hex() + row["payload"] == row["wire"]
    frames.check_header(*frames.unpack_header(header)[:3])


def name(event) -> str:
    return type(event).__name__ + (f" {event.stream.id}" if hasattr(event, "stream") else "")


def receive(bob, row):
    return [name(event) for piece in row["receive"] for event in bob.receive(bytes.fromhex(piece), 0.0)]


@pytest.mark.parametrize("row", **named([row for row in VECTORS["cases"] if "events" in row]))
def test_what_is_accepted(row):
    bob = session()
    assert receive(bob, row) == row["events"]
    streams = {}
    while (stream := bob.accept()) is not None:
        streams[str(stream.id)] = {"text": everything(stream).decode(), "atEnd": stream.at_end}
    assert streams == row["streams"]
    answer = [frame for frame in output(bob) if frame[:2] not in ((WINDOW, ACK), (PING, SYN))]
    assert b"".join(map(bytes, answer)).hex() == row["answer"]


@pytest.mark.parametrize("row", **named([row for row in VECTORS["cases"] if "refused" in row]))
def test_what_is_refused(row):
    with pytest.raises(RemoteProtocolError) as caught:
        receive(session(), row)
    error = caught.value
    assert row["refused"] == {"code": error.code, "penalty": error.penalty, "reply": error.reply.hex()}

"""Length-prefixed RPCs of GossipSub, cut anywhere. The first byte says where."""

from __future__ import annotations

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.pubsub.framing import FrameBuffer
from tests.fuzz.inputs import halves

LIMIT = 1000

SEEDS = [
    b"\x80\x03abc\x00\x01x",
    b"\x01\xe8\x07" + bytes(1000),
    b"\x02\xff\xff\xff\xff\x7f",
    b"\x03\x80\x80\x80\x80\x01",
]


def _frames(parts: list[bytes]) -> tuple[list[bytes], str]:
    buffer = FrameBuffer(LIMIT)
    frames: list[bytes] = []
    try:
        for part in parts:
            frames += buffer.feed(part)
    except RemoteProtocolError as error:
        return frames, error.code
    return frames, ""


def target(data: bytes) -> None:
    """Frames within the limit, or a named refusal; the same wherever the input is cut."""
    if not data:
        return
    body = data[1:]
    frames, code = _frames(halves(data))
    assert all(len(frame) <= LIMIT for frame in frames)
    assert code in ("", "rpc_too_large", "bad_length")
    bytewise, same = _frames([body[i : i + 1] for i in range(len(body))])
    assert same == code
    # a refusal in the middle of a part keeps back the frames before it in that part
    assert bytewise[: len(frames)] == frames
    if not code:
        assert bytewise == frames

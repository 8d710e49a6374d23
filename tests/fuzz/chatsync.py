"""Both ends of chat-sync, 2.0 and 1.1. The first byte picks the end, what it has asked, and where the rest is cut."""

from __future__ import annotations

import hashlib

from nexusd_protocols import limits
from nexusd_protocols.chatsync import codec, reconcile
from nexusd_protocols.chatsync.frames import Compare, Head, Messages, Open, Opened, Put, Took, Want
from nexusd_protocols.chatsync.index import Item, Key, MemoryIndex, Summary
from nexusd_protocols.chatsync.published import Ask, PublishedProvider, PublishedRequester
from nexusd_protocols.chatsync.ranges import Fingerprint, Ranges, check_answer
from nexusd_protocols.chatsync.stream import Delivered, SyncInitiator, SyncResponder, Undelivered
from nexusd_protocols.ids import RoomId
from tests.fuzz.inputs import halves
from tests.harness.stream_vectors import outcome
from tests.harness.vectors import vectors

_VECTORS = vectors("chat-sync")
_ROOM = RoomId("lab")
_OPENED = codec.encode(Opened(0, None, 0))
_REQUEST = Ranges(Key(1000, b""), tuple(Fingerprint.of(Key(n, b""), Summary(3, 3)) for n in (2000, 4000, 5000)))
_MESSAGES = (b"one", b"two")
_DIGESTS = tuple(hashlib.sha256(raw).digest() for raw in _MESSAGES)
_INDEX = MemoryIndex(Item(1000 + 7 * n, hashlib.sha256(bytes([n])).digest(), gone=n % 9 == 0) for n in range(200))


def _asked(request: Compare | Want | Put | Head) -> SyncInitiator:
    machine = SyncInitiator()
    machine.send(Open(_ROOM, 0))
    machine.receive(_OPENED)
    machine.send(request)
    return machine


def _opened() -> SyncResponder:
    machine = SyncResponder()
    machine.receive(codec.encode(Open(_ROOM, 0)))
    machine.send(Opened(0, None, 0))
    return machine


def _requester() -> PublishedRequester:
    machine = PublishedRequester()
    machine.send(Ask(_ROOM))
    return machine


_MACHINES = (
    SyncResponder,
    _opened,
    lambda: _asked(Compare(_REQUEST)),
    lambda: _asked(Want(_DIGESTS)),
    lambda: _asked(Put(_MESSAGES)),
    lambda: _asked(Head(1, 9)),
    PublishedProvider,
    _requester,
)

SEEDS = [
    *(bytes([n]) + bytes.fromhex(row["bytes"]) for row in _VECTORS["frames"] for n in (0, 1)),
    *(b"\x01" + codec.varint.encode(len(row["body"]) // 2) + bytes.fromhex(row["body"]) for row in _VECTORS["refused"]),
    b"\x01" + codec.encode(Compare(reconcile.opening(_INDEX, Key(900, b""), Key(9000, b""), [Key(1500, b"")]))),
    *(b"\x02" + bytes.fromhex(row["answer"]) for row in _VECTORS["answers"]),
    b"\x02" + codec.encode(Compare(reconcile.answer(_REQUEST, _INDEX))),
    b"\x03"
    + codec.encode(Messages(_MESSAGES[:1], (), last=False))
    + codec.encode(Messages((), _DIGESTS[1:], last=True)),
    b"\x04" + codec.encode(Took(1, ((_DIGESTS[0], "known"),))),
    b'\x06{"type":"sync.request","version":1,"roomId":"lab","maxBatches":3}\n',
    b'\x07{"type":"sync.response","version":1,"roomId":"lab","batches":[]}\n',
]


def target(data: bytes) -> None:
    """Accept, or raise RemoteProtocolError once; then nothing more. What was accepted can be worked with."""
    if not data:
        return
    machine = _MACHINES[data[0] % 8]()
    events, error = outcome(machine, halves(data), eof=False)
    if error is not None:
        assert error.code
        assert machine.receive(data[1:]) == []
        return
    for event in events:
        match event:
            case Compare(ranges=ranges) if isinstance(machine, SyncResponder):
                answer = reconcile.answer(ranges, _INDEX)
                (frame,) = codec.FrameBuffer().feed(codec.encode(Compare(answer)))
                assert codec.decode(frame) == Compare(answer)
                check_answer(ranges, answer)
            case Compare(ranges=ranges):
                initiator = reconcile.Initiator()
                step = initiator.handle(ranges, _INDEX)
                known = {item.key for item in _INDEX.items(Key(0, b""), Key(1 << 48, b""), 1000)}
                assert not any(item.gone or item.key in known for item in step.needs)
                assert all(_REQUEST.lower <= item.key < _REQUEST.upper for item in step.needs)
                assert step.request is None or step.request.open <= limits.SYNC_OPEN_RANGES
            case Delivered(messages=messages):
                assert all(raw in _MESSAGES for _, raw in messages)
            case Undelivered(digests=digests):
                assert set(digests) <= set(_DIGESTS)
            case _:
                pass

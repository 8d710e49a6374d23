"""How frames are written and read. (specs/chat-sync.md §4)

A frame is its length, an unsigned varint, and a DAG-CBOR map with `type` and the fields of that type, all of them and
no others: one frame has one encoding, and what is read is what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from nexusd_protocols import limits, varint
from nexusd_protocols.chatsync import ranges
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
)
from nexusd_protocols.chatsync.index import DIGEST_BYTES, FINGERPRINT_BYTES, Item, Key
from nexusd_protocols.chatsync.ranges import Batches, Fingerprint, Items, Range, Ranges, Skip
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.cid import DAG_CBOR, Cid
from nexusd_protocols.delimited import FrameCutter
from nexusd_protocols.errors import LimitExceededError, RemoteProtocolError
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.ids import RoomId, parse_room_id

_Value = dag_cbor.Value
_Map = dict[str, dag_cbor.Value]
_NUMBER: Final = 1 << 53
"""Times, counts and hours stay below it: JavaScript holds them exactly."""
_DEPTH: Final = 6
_LENGTH_BYTES: Final = 4


# --- writing ----------------------------------------------------------------------------------------------------------
def encode(frame: Frame, *, max_bytes: int = limits.SYNC_FRAME_BYTES) -> bytes:
    """The frame with its length. Raises LimitExceededError `frame`."""
    data = dag_cbor.encode(_written(frame))
    if len(data) > max_bytes:
        raise LimitExceededError("frame", f"a frame of {len(data)} bytes is over {max_bytes}")
    return varint.encode(len(data)) + data


def _written(frame: Frame) -> _Map:
    match frame:
        case Open(room=room, horizon=horizon):
            return {"type": "open", "room": room, "horizon": horizon}
        case Opened(horizon=horizon, head=head, count=count):
            return {"type": "opened", "horizon": horizon, "head": head, "count": count}
        case Refused(code=code):
            return {"type": "refused", "code": code}
        case Compare(ranges=Ranges(lower=lower) as said):
            return {
                "type": "ranges",
                "lower": [lower.timestamp, lower.digest],
                "ranges": [_range(*each) for each in said],
            }
        case Want(digests=digests):
            return {"type": "want", "digests": b"".join(digests)}
        case Messages(messages=messages, absent=absent, last=last):
            return {"type": "messages", "messages": list(messages), "absent": b"".join(absent), "last": last}
        case Put(messages=messages):
            return {"type": "put", "messages": list(messages)}
        case Took(stored=stored, refused=refused):
            return {"type": "took", "stored": stored, "refused": [[digest, reason] for digest, reason in refused]}
        case Head(first=first, last=last):
            return {"type": "head", "first": first, "last": last}
        case Headed(head=head, count=count):
            return {"type": "headed", "head": head, "count": count}


def _range(lower: Key, said: Range) -> _Value:
    head: list[_Value] = [said.upper.timestamp - lower.timestamp, said.upper.digest]
    match said:
        case Skip():
            return head
        case Fingerprint(count=count, value=value):
            return [*head, count, value]
        case Items(items=items):
            last = lower.timestamp
            gaps: list[_Value] = []
            for item in items:
                gaps.append(item.timestamp - last)
                last = item.timestamp
            gone: list[_Value] = [at for at, item in enumerate(items) if item.gone]
            return [*head, gaps, b"".join(item.digest for item in items), gone]
        case Batches(batches=batches):
            hours: dict[int, list[BatchRef]] = {}
            for ref in batches:
                hours.setdefault(ref.hour, []).append(ref)
            rows: list[_Value] = [
                [hour, bytes(ref.count for ref in refs), b"".join(ref.cid.digest for ref in refs)]
                for hour, refs in hours.items()
            ]
            return [*head, rows]


# --- reading ----------------------------------------------------------------------------------------------------------
def decode(data: bytes, *, max_bytes: int = limits.SYNC_FRAME_BYTES) -> Frame:
    """A frame without its length. Raises RemoteProtocolError `bad_frame`, and as `ranges.check` does."""
    try:
        value = dag_cbor.decode(data, max_bytes=max_bytes, depth=_DEPTH, items=limits.SYNC_FRAME_ITEMS)
    except dag_cbor.DagCborError as error:
        raise RemoteProtocolError("bad_frame", str(error), penalty=10) from error
    if not isinstance(value, dict):
        raise _bad("a map expected")
    kind = value.pop("type", None)
    if not isinstance(kind, str) or (reader := _READERS.get(kind)) is None:
        raise _bad("of no type that is known")
    fields, read = reader
    if value.keys() != fields:
        raise _bad(f"{kind} has the fields {', '.join(sorted(fields))}")
    return read(value)


class FrameBuffer(FrameCutter):
    """Cuts a byte stream into frames. Raises `frame_too_large`, `bad_length`."""

    def __init__(self, max_frame: int = limits.SYNC_FRAME_BYTES) -> None:
        super().__init__(max_frame)

    def _bounds(self, start: int) -> tuple[int, int] | None:
        head = self._buffer[start : start + _LENGTH_BYTES]
        try:
            length, size = varint.read(head, 0)
        except varint.IncompleteError as error:
            if len(head) == _LENGTH_BYTES:
                raise self._too_large() from error
            return None
        except ValueError as error:
            raise RemoteProtocolError("bad_length", str(error), penalty=10) from error
        if length > self._max_frame:
            raise self._too_large()
        begin = start + size
        return begin, begin + length

    def _too_large(self) -> RemoteProtocolError:
        return RemoteProtocolError("frame_too_large", f"over {self._max_frame} bytes", penalty=10)


def _bad(detail: str) -> RemoteProtocolError:
    return RemoteProtocolError("bad_frame", detail, penalty=10)


def _number(value: _Value, most: int = _NUMBER) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < most:
        raise _bad("a number out of bounds")
    return value


def _list(value: _Value, most: int | None = None) -> list[_Value]:
    if not isinstance(value, list) or (most is not None and len(value) > most):
        raise _bad("a list expected" if most is None else f"a list of at most {most} expected")
    return value


def _bytes(value: _Value) -> bytes:
    if not isinstance(value, bytes):
        raise _bad("bytes expected")
    return value


def _digests(value: _Value, most: int | None = None) -> tuple[bytes, ...]:
    raw = _bytes(value)
    if len(raw) % DIGEST_BYTES or (most is not None and len(raw) > most * DIGEST_BYTES):
        raise _bad("digests of 32 bytes expected, and not so many")
    return tuple(raw[at : at + DIGEST_BYTES] for at in range(0, len(raw), DIGEST_BYTES))


def _different(digests: tuple[bytes, ...]) -> tuple[bytes, ...]:
    if len(set(digests)) != len(digests):
        raise _bad("a digest twice")
    return digests


def _messages(value: _Value) -> tuple[bytes, ...]:
    messages = tuple(_bytes(raw) for raw in _list(value, limits.SYNC_WANTS))
    if not all(messages):
        raise _bad("a message without a byte")
    return messages


def _head(value: _Value) -> Cid | None:
    if value is None or (isinstance(value, Cid) and value.codec == DAG_CBOR):
        return value
    raise _bad("a link to DAG-CBOR expected, or none")


def _word(value: _Value) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= limits.FRAME_WORD_CHARS or not value.isprintable():
        raise _bad("a word expected")
    return value


def _room(value: _Value) -> RoomId:
    try:
        return parse_room_id(value if isinstance(value, str) else "")
    except ValueError as error:
        raise _bad(str(error)) from error


def _key(timestamp: int, prefix: _Value) -> Key:
    raw = _bytes(prefix)
    if len(raw) > DIGEST_BYTES:
        raise _bad("a prefix has at most 32 bytes")
    return Key(timestamp, raw)


def _read_ranges(fields: _Map) -> Compare:
    first = _list(fields["lower"])
    if len(first) != 2:
        raise _bad("a bound has a timestamp and a prefix")
    at = lower = _key(_number(first[0]), first[1])
    read: list[Range] = []
    for row in _list(fields["ranges"]):
        read.append(_read_range(at, _list(row)))
        at = read[-1].upper
    said = Ranges(lower, tuple(read))
    ranges.check(said, max_open=limits.SYNC_OPEN_RANGES)
    return Compare(said)


def _read_range(lower: Key, row: list[_Value]) -> Range:
    if len(row) not in (2, 3, 4, 5):
        raise _bad("a range has two to five parts")
    upper = _key(lower.timestamp + _number(row[0]), row[1])
    match row[2:]:
        case [count, value]:
            if len(fingerprint := _bytes(value)) != FINGERPRINT_BYTES:
                raise _bad("a fingerprint has 16 bytes")
            return Fingerprint(upper, _number(count), fingerprint)
        case [gaps, digests, gone]:
            return Items(upper, _read_items(lower, _list(gaps), _digests(digests), _list(gone)))
        case [hours]:
            return Batches(upper, tuple(ref for hour in _list(hours) for ref in _read_hour(_list(hour))))
        case _:
            return Skip(upper)


def _read_items(lower: Key, gaps: list[_Value], digests: tuple[bytes, ...], gone: Sequence[_Value]) -> tuple[Item, ...]:
    if len(gaps) != len(digests):
        raise _bad("as many dates as digests expected")
    buried = {_number(at, len(gaps)) for at in gone}
    if sorted(buried) != list(gone):
        raise _bad("places ascend")
    items = []
    timestamp = lower.timestamp
    for at, (gap, digest) in enumerate(zip(gaps, digests, strict=True)):
        timestamp += _number(gap)
        items.append(Item(timestamp, digest, at in buried))
    return tuple(items)


def _read_hour(row: list[_Value]) -> list[BatchRef]:
    if len(row) != 3:
        raise _bad("an hour has three parts")
    hour, counts, digests = _number(row[0]), _bytes(row[1]), _digests(row[2])
    if len(counts) != len(digests) or not counts:
        raise _bad("as many counts as digests expected")
    return [
        BatchRef(hour, part, Cid(DAG_CBOR, digest), count)
        for part, (count, digest) in enumerate(zip(counts, digests, strict=True))
    ]


def _read_want(fields: _Map) -> Want:
    digests = _different(_digests(fields["digests"], limits.SYNC_WANTS))
    if not digests:
        raise _bad("nothing wanted")
    return Want(digests)


def _read_messages(fields: _Map) -> Messages:
    last = fields["last"]
    if not isinstance(last, bool):
        raise _bad("last is true or false")
    absent = _different(_digests(fields["absent"], limits.SYNC_WANTS))
    return Messages(_messages(fields["messages"]), absent, last)


def _read_put(fields: _Map) -> Put:
    messages = _messages(fields["messages"])
    if not messages:
        raise _bad("nothing put")
    return Put(messages)


def _read_took(fields: _Map) -> Took:
    refused = []
    for row in _list(fields["refused"], limits.SYNC_WANTS):
        match row:
            case [bytes() as digest, reason] if len(digest) == DIGEST_BYTES:
                refused.append((digest, _word(reason)))
            case _:
                raise _bad("a refusal has a digest and a reason")
    _different(tuple(digest for digest, _ in refused))
    return Took(_number(fields["stored"]), tuple(refused))


_READERS: Final[dict[str, tuple[frozenset[str], Callable[[_Map], Frame]]]] = {
    "open": (
        frozenset({"room", "horizon"}),
        lambda fields: Open(_room(fields["room"]), _number(fields["horizon"])),
    ),
    "opened": (
        frozenset({"horizon", "head", "count"}),
        lambda fields: Opened(_number(fields["horizon"]), _head(fields["head"]), _number(fields["count"])),
    ),
    "refused": (frozenset({"code"}), lambda fields: Refused(_word(fields["code"]))),
    "ranges": (frozenset({"lower", "ranges"}), _read_ranges),
    "want": (frozenset({"digests"}), _read_want),
    "messages": (frozenset({"messages", "absent", "last"}), _read_messages),
    "put": (frozenset({"messages"}), _read_put),
    "took": (frozenset({"stored", "refused"}), _read_took),
    "head": (frozenset({"first", "last"}), lambda fields: Head(_number(fields["first"]), _number(fields["last"]))),
    "headed": (
        frozenset({"head", "count"}),
        lambda fields: Headed(_head(fields["head"]), _number(fields["count"])),
    ),
}

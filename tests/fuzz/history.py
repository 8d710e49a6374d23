"""Objects of a room's history: batches, days, checkpoints, and those of the published network. The first byte says
which."""

from __future__ import annotations

import contextlib

from nexusd_protocols import limits
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import DAG_CBOR, JSON
from nexusd_protocols.history import v1
from nexusd_protocols.history.batch import BatchRef, batches, read_batch
from nexusd_protocols.history.checkpoint import make_checkpoint, read_checkpoint
from nexusd_protocols.history.day import make_day, read_day
from nexusd_protocols.history.errors import HistoryError
from nexusd_protocols.ids import RoomId
from tests.harness.vectors import vectors

_VECTORS = vectors("history")
_ROOM = RoomId("lab")
_KINDS = {"batch": b"\x00", "day": b"\x01", "checkpoint": b"\x02"}

SEEDS = [
    *(b"\x00" + bytes.fromhex(row["object"]) for hour in _VECTORS["hours"] for row in hour["batches"]),
    *(b"\x01" + bytes.fromhex(row["object"]) for row in _VECTORS["days"]),
    b"\x02" + bytes.fromhex(_VECTORS["checkpoint"]["object"]),
    b"\x03" + _VECTORS["v1"]["batch"]["text"].encode(),
    b"\x04" + _VECTORS["v1"]["checkpoint"]["text"].encode(),
    *(_KINDS[row["kind"]] + bytes.fromhex(row["object"]) for row in _VECTORS["refused"]),
]


def target(data: bytes) -> None:
    """An object that is read is the one that is made of what was read; anything else is refused by name."""
    if not data:
        return
    kind = data[0] % 5
    block = Block.of(DAG_CBOR if kind < 3 else JSON, data[1:])
    with contextlib.suppress(HistoryError):
        _read(kind, block)


def _read(kind: int, block: Block) -> None:
    match kind:
        case 0:
            batch = read_batch(block, room=_ROOM)
            assert 0 < len(batch.messages) <= limits.BATCH_MESSAGES
            made = batches(_ROOM, batch.hour, [message.encode() for message in batch.messages])
            assert batch.part or made == [
                (BatchRef(batch.hour, 0, block.cid, len(batch.messages)), Block(block.cid, block.data))
            ]
        case 1:
            _, again = make_day(_ROOM, read_day(block, room=_ROOM).batches)
            assert again.data == block.data
        case 2:
            assert make_checkpoint(_ROOM, read_checkpoint(block, room=_ROOM)).data == block.data
        case 3:
            assert len(v1.read_batch(block, room=_ROOM).messages) <= limits.BATCH_MESSAGES
        case _:
            v1.read_checkpoint(block, room=_ROOM)

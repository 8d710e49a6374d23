"""The golden vectors of specs/history.md."""

from __future__ import annotations

from random import Random

import pytest

from nexusd_protocols.content.block import Block, read_block
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.history import v1
from nexusd_protocols.history.batch import BatchRef, batches, read_batch
from nexusd_protocols.history.checkpoint import read_checkpoint, tree
from nexusd_protocols.history.day import DayRef, read_day
from nexusd_protocols.history.errors import HistoryError
from nexusd_protocols.ids import RoomId
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.room import message as wire
from tests.harness.people import ALICE
from tests.harness.vectors import named, vectors

VECTORS = vectors("history")
ROOM = RoomId(VECTORS["room"])
READERS = {"batch": read_batch, "day": read_day, "checkpoint": read_checkpoint}


def block_of(row: dict) -> Block:
    return read_block(Cid.parse(row["cid"]), bytes.fromhex(row["object"]))


def refs() -> list[BatchRef]:
    return [
        BatchRef(hour["hour"], row["part"], Cid.parse(row["cid"]), row["count"])
        for hour in VECTORS["hours"]
        for row in hour["batches"]
    ]


@pytest.mark.parametrize("hour", VECTORS["hours"], ids=lambda hour: str(hour["hour"]))
def test_the_messages_of_an_hour_make_its_batches(hour):
    messages = [bytes.fromhex(raw) for raw in hour["messages"]]
    Random(1).shuffle(messages)
    made = batches(ROOM, hour["hour"], messages)
    assert [(ref.part, ref.count, str(ref.cid), block.data.hex()) for ref, block in made] == [
        (row["part"], row["count"], row["cid"], row["object"]) for row in hour["batches"]
    ]
    read = [message for row in hour["batches"] for message in read_batch(block_of(row), room=ROOM).messages]
    assert sorted(message.encode() for message in read) == sorted(messages)
    assert all(message.verify() for message in read)


def test_all_batches_make_the_days_and_the_checkpoint():
    made = tree(ROOM, refs())
    assert made is not None
    days = [DayRef(row["day"], Cid.parse(row["cid"]), row["count"]) for row in VECTORS["days"]]
    assert [ref for ref, _ in made.days] == days
    assert [block for _, block in made.days] == [block_of(row) for row in VECTORS["days"]]
    assert made.head == block_of(VECTORS["checkpoint"])
    assert made.count == VECTORS["checkpoint"]["count"]
    assert read_checkpoint(made.head, room=ROOM) == tuple(days)
    assert [ref for row in VECTORS["days"] for ref in read_day(block_of(row), room=ROOM).batches] == refs()


@pytest.mark.parametrize("row", **named(VECTORS["refused"]))
def test_an_object_that_is_refused(row):
    with pytest.raises(HistoryError) as caught:
        READERS[row["kind"]](block_of(row), room=ROOM)
    assert caught.value.code == row["code"]


def test_what_is_rendered_for_the_published_network():
    hour = VECTORS["hours"][0]
    messages = []
    for raw in hour["messages"]:
        signed = SignedMessage.decode(bytes.fromhex(raw))
        read = wire.read(signed.topic, signed.data, signed.sender, 1 << 47)
        assert isinstance(read, wire.RoomMessage)
        messages.append(read)
    expected = VECTORS["v1"]
    batch = v1.render_batch(
        ROOM, hour["hour"], Cid.parse(hour["batches"][0]["cid"]), messages, ALICE, expected["retentionClass"]
    )
    assert batch is not None
    (checkpoint,) = v1.render_checkpoints(ROOM, [(hour["hour"], batch.cid)], ALICE)
    for block, row, read in ((batch, "batch", v1.read_batch), (checkpoint, "checkpoint", v1.read_checkpoint)):
        assert (str(block.cid), block.data.decode()) == (expected[row]["cid"], expected[row]["text"])
        assert read(block, room=ROOM).room_id == ROOM

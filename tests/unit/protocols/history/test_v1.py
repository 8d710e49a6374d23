"""History in the words of the published network (specs/history.md §5)."""

from __future__ import annotations

import json

import pytest

from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import DAG_CBOR, JSON, Cid
from nexusd_protocols.content.json_blocks import encode_json
from nexusd_protocols.history import v1
from nexusd_protocols.history.errors import HistoryError
from nexusd_protocols.room import message as wire
from nexusd_protocols.room import payloads
from tests.harness.people import ALICE, BOB, MALLORY
from tests.harness.spoken import AT, HOUR, HOUR_MS, LAB, said

SOURCE = Cid.of(DAG_CBOR, b"the batch")


def read(signed) -> wire.RoomMessage:
    message = wire.read(signed.topic, signed.data, signed.sender, AT + HOUR_MS)
    assert isinstance(message, wire.RoomMessage)
    return message


MESSAGES = [
    read(said("zweite\n\u2028\x01 é", timestamp=AT + 2, author=BOB, message_id="m2")),
    read(said("first", timestamp=AT + 1, message_id="m1")),
]
EDIT = wire.RoomMessage("/nexus/room/lab", "m3", ALICE.peer_id, AT + 3, payloads.Edit("m1", "other", "text/plain"))


def rendered(messages=MESSAGES) -> Block:
    block = v1.render_batch(LAB, HOUR, SOURCE, [*messages, EDIT], ALICE, "archival")
    assert block is not None
    return block


def changed(block: Block, **fields: object) -> Block:
    return Block.of(JSON, encode_json(json.loads(block.data) | fields))


def test_a_batch_has_the_published_fields_in_their_order():
    block = rendered()
    batch = json.loads(block.data)
    assert list(batch) == [
        "schema", "roomId", "batchId", "author", "createdAt", "messages", "retentionClass", "sig",
    ]  # fmt: skip
    assert batch["schema"] == "nexus:message-batch:v1"
    assert batch["createdAt"] == AT + HOUR_MS + 600_000
    assert batch["messages"] == [
        {"id": "m1", "timestamp": AT + 1, "sender": ALICE.peer_id, "format": "text/plain", "content": "first"},
        {
            "id": "m2",
            "timestamp": AT + 2,
            "sender": BOB.peer_id,
            "format": "text/plain",
            "content": "zweite\n\u2028\x01 é",
        },
    ]
    assert block.cid.codec == JSON
    assert block.data == encode_json(batch)


def test_a_batch_is_the_same_each_time_and_reads_back():
    assert rendered() == rendered(MESSAGES[::-1])
    batch = v1.read_batch(rendered(), room=LAB)
    assert (batch.author, batch.retention_class, len(batch.messages)) == (ALICE.peer_id, "archival", 2)


def test_a_batch_without_chat_is_none():
    assert v1.render_batch(LAB, HOUR, SOURCE, [EDIT], ALICE, "archival") is None


def test_a_chain_of_checkpoints_names_all_batches_the_oldest_first():
    cids = [(HOUR + n, Cid.of(JSON, b"%d" % n)) for n in range(5)]
    blocks = v1.render_checkpoints(LAB, cids, ALICE, size=2)
    read = [v1.read_checkpoint(block, room=LAB) for block in blocks]
    assert [text for checkpoint in read for text in checkpoint.batch_cids] == [str(cid) for _, cid in cids]
    assert [checkpoint.epoch for checkpoint in read] == [0, 1, 2]
    assert [checkpoint.previous_checkpoint for checkpoint in read] == [None, str(blocks[0].cid), str(blocks[1].cid)]
    # the full ones stay as they are when there is more
    assert v1.render_checkpoints(LAB, cids[:4], ALICE, size=2) == blocks[:2]
    assert v1.render_checkpoints(LAB, [], ALICE) == []


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (lambda: changed(rendered(), createdAt=1), "bad_signature"),
        (lambda: changed(rendered(), author=MALLORY.peer_id), "bad_signature"),
        (lambda: changed(rendered(), author="nobody"), "bad_signature"),
        (lambda: changed(rendered(), sig=""), "bad_signature"),
        (lambda: changed(rendered(), sig="é"), "bad_signature"),
        (lambda: changed(rendered(), sig="A" * 86 + "=="), "bad_signature"),
        (lambda: changed(rendered(), roomId="other"), "wrong_room"),
        (lambda: changed(rendered(), messages=[{}]), "bad_object"),
        (lambda: changed(rendered(), messages=json.loads(rendered().data)["messages"][:1] * 101), "bad_object"),
        (lambda: changed(rendered(), schema="nexus:message-batch:v2"), "bad_object"),
        (lambda: Block.of(JSON, b"[" * 100), "bad_object"),
        (lambda: Block.of(JSON, b"\xff"), "bad_object"),
        (lambda: Block.of(DAG_CBOR, rendered().data), "bad_object"),
        (lambda: Block.of(JSON, b" " * (2 * 2**20 + 1)), "too_large"),
    ],
)
def test_a_batch_that_its_author_did_not_sign_is_refused(block, code):
    with pytest.raises(HistoryError) as caught:
        v1.read_batch(block(), room=LAB)
    assert caught.value.code == code


def test_a_checkpoint_that_its_aggregator_did_not_sign_is_refused():
    (block,) = v1.render_checkpoints(LAB, [(HOUR, SOURCE)], ALICE)
    itself = changed(block, previousCheckpoint=str(block.cid))
    for bad, code in ((itself, "bad_signature"), (changed(block, batchCids="all"), "bad_object")):
        with pytest.raises(HistoryError) as caught:
            v1.read_checkpoint(bad, room=LAB)
        assert caught.value.code == code

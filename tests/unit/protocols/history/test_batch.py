"""Batches against specs/history.md §2."""

from __future__ import annotations

import hashlib
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from nexusd_protocols import limits
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.block import Block, read_block
from nexusd_protocols.content.cid import DAG_CBOR, RAW
from nexusd_protocols.history.batch import CONTENT_BYTES, batches, read_batch
from nexusd_protocols.history.errors import HistoryError
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.examples import examples
from tests.harness.people import ALICE, BOB, MALLORY
from tests.harness.spoken import AT, HOUR, HOUR_MS, LAB, said


@cache
def pool(count: int) -> list[bytes]:
    """Messages of one hour, in no order."""
    return [said(f"message {n}", timestamp=AT + n, message_id=f"m{n}").encode() for n in range(count)]


def digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


def made(messages: object, **fields: object) -> Block:
    """A batch as an attacker makes it: the messages as they are, and any field another."""
    value = {"schema": "nexus:message-batch:v2", "room": LAB, "hour": HOUR, "part": 0, "messages": messages} | fields
    return Block.of(DAG_CBOR, dag_cbor.encode({key: each for key, each in value.items() if each is not ...}))


def in_order(*messages: SignedMessage) -> list[bytes]:
    return sorted((message.encode() for message in messages), key=digest)


@given(st.integers(1, 250), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=examples(20))
def test_equal_sets_give_equal_batches(count, random):
    messages = pool(250)[:count]
    shuffled = [*messages, messages[0]]
    random.shuffle(shuffled)
    parts = batches(LAB, HOUR, messages)
    assert batches(LAB, HOUR, shuffled) == parts
    assert [ref.count for ref, _ in parts] == [100] * (count // 100) + [count % 100] * (count % 100 > 0)
    read = []
    for part, (ref, block) in enumerate(parts):
        batch = read_batch(read_block(ref.cid, block.data), room=LAB)
        assert (
            (batch.hour, batch.part, len(batch.messages)) == (HOUR, part, ref.count) == (ref.hour, ref.part, ref.count)
        )
        assert batch.digests == tuple(digest(message.encode()) for message in batch.messages)
        assert all(message.verify() for message in batch.messages)
        read += [message.encode() for message in batch.messages]
    assert read == sorted(set(messages), key=digest)


def test_no_messages_make_no_batch():
    assert batches(LAB, HOUR, []) == []


def test_parts_are_cut_by_bytes_too():
    large = [said(f"{n}" + "x" * 250_000, message_id=f"large{n}").encode() for n in range(9)]
    parts = batches(LAB, HOUR, large)
    assert [ref.count for ref, _ in parts] == [4, 4, 1]
    assert all(len(block.data) <= limits.BATCH_BYTES for _, block in parts)
    assert sum(map(len, sorted(large, key=digest)[:5])) > CONTENT_BYTES
    assert sum(ref.count for ref, _ in parts) == sum(len(read_batch(block, room=LAB).messages) for _, block in parts)


def test_a_hundred_of_the_largest_overheads_fit():
    # what the object itself takes is largest with the longest room id and 100 messages that need a 5-byte length
    room = "r" * 64
    size = CONTENT_BYTES // 100
    messages = []
    for n in range(100):
        message = said("", room=room, message_id=f"m{n}")
        messages.append(said("x" * (size - len(message.encode()) - 20), room=room, message_id=f"m{n}").encode())
    ((ref, block),) = batches(room, 2**31 - 1, messages)
    assert ref.count == 100
    assert sum(map(len, messages)) > CONTENT_BYTES - 3000
    assert len(block.data) - sum(map(len, messages)) < limits.BATCH_BYTES - CONTENT_BYTES


def test_a_forged_message_does_not_cost_the_others():
    good = said("true")
    forged = replace(said("false", author=BOB), sender=ALICE.peer_id)
    batch = read_batch(made(in_order(good, forged)), room=LAB)
    assert [message for message in batch.messages if message.verify()] == [good]
    assert len(batch.messages) == 2


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (lambda: made(sorted(pool(101), key=digest)), "too_many"),
        (lambda: made(in_order(said("a"), said("elsewhere", room="other"))), "wrong_room"),
        (lambda: made(in_order(said("a")), room="other"), "wrong_room"),
        (lambda: made(in_order(said("a"), said("b"))[::-1]), "unsorted"),
        (lambda: made(in_order(said("a")) * 2), "unsorted"),
        (lambda: made(in_order(said("a")), hour=HOUR + 1), "wrong_hour"),
        (lambda: made(in_order(said("a"), said("later", timestamp=AT + HOUR_MS))), "wrong_hour"),
        (lambda: made(in_order(said("in 1970", timestamp=0)), hour=HOUR), "wrong_hour"),
        (lambda: made([]), "bad_object"),
        (lambda: made(["text"]), "bad_object"),
        (lambda: made([b"no message"]), "bad_object"),
        (lambda: made([said("a").encode() + b"\x32\x00"]), "bad_object"),
        (lambda: made([SignedMessage.sign(MALLORY, "/nexus/room/lab", b"{}", 1).encode()]), "bad_object"),
        (lambda: made(in_order(said("a")), hour=-1), "bad_object"),
        (lambda: made(in_order(said("a")), hour=True), "bad_object"),
        (lambda: made(in_order(said("a")), part=2**40), "bad_object"),
        (lambda: made(in_order(said("a")), schema="nexus:message-batch:v3"), "bad_object"),
        (lambda: made(in_order(said("a")), part=...), "bad_object"),
        (lambda: made(in_order(said("a")), note="hello"), "bad_object"),
        (lambda: made({}), "bad_object"),
        (lambda: Block.of(DAG_CBOR, dag_cbor.encode(["no", "map"])), "bad_object"),
        (lambda: Block.of(DAG_CBOR, b"\xff"), "bad_object"),
        (lambda: Block.of(RAW, made(in_order(said("a"))).data), "bad_object"),
        (lambda: made([b""] * 1000), "too_many"),
        (lambda: made([b"x" * limits.BATCH_BYTES]), "too_large"),
    ],
)
def test_what_no_member_makes_is_refused(block, code):
    with pytest.raises(HistoryError) as caught:
        read_batch(block(), room=LAB)
    assert caught.value.code == code


@given(st.data())
@settings(deadline=None)
def test_a_changed_batch_is_refused_or_reads_as_it_was(data):
    ((_, block),) = batches(LAB, HOUR, pool(3))
    raw = bytearray(block.data)
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    other = Block.of(DAG_CBOR, bytes(raw))
    try:
        batch = read_batch(other, room=LAB)
    except HistoryError:
        return
    # what was read encodes as the same bytes: nothing in them was passed over
    assert made([message.encode() for message in batch.messages], hour=batch.hour, part=batch.part).data == other.data

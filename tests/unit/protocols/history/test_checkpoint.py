"""Days and checkpoints against specs/history.md §3, §4."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.block import Block, read_block
from nexusd_protocols.content.cid import DAG_CBOR, RAW, Cid
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.checkpoint import head, make_checkpoint, read_checkpoint, tree
from nexusd_protocols.history.day import DayRef, make_day, read_day
from nexusd_protocols.history.errors import HistoryError
from tests.harness.spoken import HOUR, LAB

DAY = HOUR // 24
NOON = DAY * 24 + 12


def cid(n: int) -> Cid:
    return Cid.of(DAG_CBOR, b"%d" % n)


def ref(hour: int, part: int = 0, count: int = 100) -> BatchRef:
    return BatchRef(hour, part, cid(hour * 1000 + part), count)


def day_object(hours: object, **fields: object) -> Block:
    value = {"schema": "nexus:room-day:v2", "room": LAB, "day": DAY, "hours": hours} | fields
    return Block.of(DAG_CBOR, dag_cbor.encode(value))


def an_hour(hour: int = NOON, **fields: object) -> dict[str, object]:
    return {"hour": hour, "batches": [cid(1)], "counts": b"\x01"} | fields


def checkpoint(days: object, **fields: object) -> Block:
    value = {"schema": "nexus:room-checkpoint:v2", "room": LAB, "days": days} | fields
    return Block.of(DAG_CBOR, dag_cbor.encode(value))


def a_day(day: int = DAY, **fields: object) -> dict[str, object]:
    return {"cid": cid(1), "count": 7, "day": day} | fields


hours = st.dictionaries(
    st.integers(HOUR, HOUR + 100), st.lists(st.integers(1, 100), min_size=1, max_size=3), max_size=9
)


@given(hours, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_tree_leads_to_every_batch_and_is_the_same_for_all_who_hold_them(counts, random):
    refs = [ref(hour, part, count) for hour, each in counts.items() for part, count in enumerate(each)]
    made = tree(LAB, refs)
    random.shuffle(refs)
    assert tree(LAB, refs) == made
    if made is None:
        assert not refs
        assert head(LAB, refs) is None
        return
    assert head(LAB, refs) == made.head.cid
    assert made.count == sum(ref.count for ref in refs)
    blocks = {block.cid: read_block(block.cid, block.data) for block in made.blocks}
    found: list[BatchRef] = []
    for each in read_checkpoint(blocks[made.head.cid], room=LAB):
        day = read_day(blocks[each.cid], room=LAB)
        assert day.day == each.day
        assert each.count == sum(batch.count for batch in day.batches)
        found += day.batches
    assert found == sorted(refs)
    # pins and fetches follow the links that anybody sees
    assert {link for block in blocks.values() for link in block.links} == {*blocks, *(ref.cid for ref in refs)} - {
        made.head.cid
    }


def test_another_history_has_another_head():
    one = [ref(NOON), ref(NOON + 30)]
    heads = {head(LAB, one), head(LAB, one[:1]), head(LAB, [one[0], ref(NOON + 30, count=99)]), head("other", one)}
    assert len(heads) == 4


def test_only_whole_days_are_made():
    with pytest.raises(ValueError, match="one day"):
        make_day(LAB, [ref(NOON), ref(NOON + 24)])
    with pytest.raises(ValueError, match="one day"):
        make_day(LAB, [])
    with pytest.raises(ValueError, match="all parts"):
        make_day(LAB, [ref(NOON, 1)])
    with pytest.raises(ValueError, match="each once"):
        make_checkpoint(LAB, [DayRef(DAY, cid(1), 1), DayRef(DAY, cid(2), 1)])
    with pytest.raises(ValueError, match="days expected"):
        make_checkpoint(LAB, [])


@pytest.mark.slow
def test_the_largest_day_and_checkpoint_are_blocks_that_peers_take():
    refs = [ref(DAY * 24 + n % 24, n // 24) for n in range(limits.DAY_BATCHES)]
    made, block = make_day("r" * 64, refs)
    assert len(block.data) <= limits.BLOCK_BYTES
    assert read_day(block, room="r" * 64).batches == tuple(sorted(refs))
    with pytest.raises(HistoryError, match="too_many"):
        make_day(LAB, [*refs, ref(DAY * 24, 9999)])

    days = [DayRef(DAY + n, cid(n), made.count) for n in range(limits.CHECKPOINT_DAYS)]
    block = make_checkpoint("r" * 64, days)
    assert len(block.data) <= limits.BLOCK_BYTES
    assert read_checkpoint(block, room="r" * 64) == tuple(days)


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (lambda: day_object([an_hour()], room="other"), "wrong_room"),
        (lambda: day_object([an_hour()], schema="nexus:room-checkpoint:v2"), "bad_object"),
        (lambda: checkpoint([a_day()]), "bad_object"),  # a checkpoint that has another for a day
        (lambda: day_object([an_hour(NOON + 24)]), "wrong_hour"),
        (lambda: day_object([an_hour(NOON), an_hour(NOON)]), "unsorted"),
        (lambda: day_object([an_hour(NOON + 1), an_hour(NOON)]), "unsorted"),
        (lambda: day_object([]), "bad_object"),
        (lambda: day_object([an_hour(DAY * 24)] * 25), "too_many"),
        (lambda: day_object([an_hour(batches=[])]), "bad_object"),
        (lambda: day_object([an_hour(batches=[cid(1)] * 25_000, counts=b"\x01" * 25_000)]), "too_many"),
        (
            lambda: day_object(
                [an_hour(n, batches=[cid(1)] * 8200, counts=b"d" * 8200) for n in (NOON, NOON + 1, NOON + 2)]
            ),
            "too_many",
        ),
        (lambda: day_object([an_hour(counts=b"")]), "bad_object"),
        (lambda: day_object([an_hour(counts=b"\x00")]), "bad_object"),
        (lambda: day_object([an_hour(counts=b"\x65")]), "bad_object"),
        (lambda: day_object([an_hour(counts=[1])]), "bad_object"),
        (lambda: day_object([an_hour(batches=[Cid.of(RAW, b"")])]), "bad_object"),
        (lambda: day_object([an_hour(batches=[cid(1).encode()])]), "bad_object"),
        (lambda: day_object([an_hour(hour="noon")]), "bad_object"),
        (lambda: day_object([an_hour(note="hello")]), "bad_object"),
        (lambda: day_object([an_hour()], day=-1), "bad_object"),
        (lambda: day_object("hours"), "bad_object"),
        (lambda: Block.of(DAG_CBOR, b"\x00" * (limits.BLOCK_BYTES + 1)), "too_large"),
    ],
)
def test_what_is_no_day_is_refused(block, code):
    with pytest.raises(HistoryError) as caught:
        read_day(block(), room=LAB)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (lambda: checkpoint([a_day()], room="other"), "wrong_room"),
        (lambda: checkpoint([]), "bad_object"),
        (lambda: checkpoint([a_day(), a_day()]), "unsorted"),
        (lambda: checkpoint([a_day(DAY + 1), a_day(DAY)]), "unsorted"),
        (lambda: checkpoint([a_day(count=0)]), "bad_object"),
        (lambda: checkpoint([a_day(count=2**40)]), "bad_object"),
        (lambda: checkpoint([a_day(cid=b"nothing")]), "bad_object"),
        (lambda: checkpoint([a_day(cid=Cid.of(RAW, b""))]), "bad_object"),
        (lambda: checkpoint([a_day(n) for n in range(limits.CHECKPOINT_DAYS + 1)]), "too_many"),
        (lambda: checkpoint([a_day()], previous=cid(1)), "bad_object"),
        (lambda: Block.of(DAG_CBOR, b"\x00" * (limits.BLOCK_BYTES + 1)), "too_large"),
        (lambda: Block.of(RAW, checkpoint([a_day()]).data), "bad_object"),
    ],
)
def test_what_is_no_checkpoint_is_refused(block, code):
    with pytest.raises(HistoryError) as caught:
        read_checkpoint(block(), room=LAB)
    assert caught.value.code == code

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.block import Block, BlockError
from nexusd_protocols.content.cid import DAG_CBOR, RAW
from nexusd_protocols.content.unixfs import Entry, directory, total_size
from nexusd_protocols.content.walk import Walk
from tests.harness.filebytes import built, file_bytes


@given(st.integers(0, 3_000_000), st.integers(1, 5), st.randoms(use_true_random=False))
def test_every_block_of_a_file_in_a_directory(size, most, chance: random.Random):
    root, blocks = built(file_bytes(size))
    top = directory([Entry("a", root, total_size(root, blocks[root].data)), Entry("b", root, 1)])
    blocks[top.cid] = top
    walk = Walk(top.cid)
    out, seen = [], set()
    while not walk.done:
        out += walk.next(most)
        if not out:
            assert walk.done  # what was left is known already
            break
        step = out.pop(chance.randrange(len(out)))
        seen.add(step.cid)
        if step.is_leaf and chance.random() < 0.5:
            assert step.size in (len(blocks[step.cid].data), 1)
            walk.skip(step)
        else:
            walk.take(blocks[step.cid])
    assert seen == set(blocks)
    assert walk.next(1) == []


def test_how_much_there_is_is_known_after_the_first_block():
    root, blocks = built(file_bytes(600_000))
    walk = Walk(root)
    (step,) = walk.next(8)
    walk.take(blocks[root])
    assert (step.size, walk.total) == (0, 600_000 + len(blocks[root].data))
    for step in walk.next(8):
        walk.take(blocks[step.cid])
    assert (walk.done, walk.blocks, walk.bytes) == (True, 4, walk.total)


def test_a_single_leaf_is_all_of_it():
    leaf = Block.of(RAW, b"leaf")
    walk = Walk(leaf.cid)
    walk.next(1)
    walk.take(leaf)
    assert (walk.done, walk.total, walk.bytes) == (True, 4, 4)


def test_more_paths_than_anybody_can_count():
    """200 blocks, each with two links to the one below it: 2^200 ways down."""
    block = Block.of(RAW, b"leaf")
    blocks = {block.cid: block}
    for _ in range(200):
        below = block.cid
        block = Block.of(DAG_CBOR, dag_cbor.encode({"left": below, "right": below, "n": len(blocks)}), [below])
        blocks[block.cid] = block
    walk = Walk(block.cid)
    while not walk.done:
        for step in walk.next(3):
            walk.take(blocks[step.cid])
    assert walk.blocks <= 202
    assert walk.total == 0


def endless(number: int, width: int = 1) -> Block:
    """A record with links that nothing else has."""
    below = [Block.of(DAG_CBOR, dag_cbor.encode([number, at])).cid for at in range(width)]
    return Block.of(DAG_CBOR, dag_cbor.encode([*below, number]), below)


def test_what_does_not_end_is_given_up():
    walk = Walk(endless(0).cid, most=100)
    for number in range(100):
        assert len(walk.next(1)) == 1
        walk.take(endless(number))
    walk.next(1)
    with pytest.raises(BlockError, match="over 100 blocks"):
        walk.take(endless(100))


def test_what_is_wider_than_anything_is_given_up():
    walk = Walk(endless(0).cid, waiting=5000)
    for number in range(5):
        walk.next(1)
        walk.take(endless(number, 1000))
    walk.next(1)
    with pytest.raises(BlockError, match="over 5000 nodes"):
        walk.take(endless(5, 1000))

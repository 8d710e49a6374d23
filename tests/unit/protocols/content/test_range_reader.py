from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.content import dag_pb, unixfs
from nexusd_protocols.content import unixfs_pb2 as pb
from nexusd_protocols.content.block import BlockError
from nexusd_protocols.content.cid import DAG_PB, RAW, Cid
from nexusd_protocols.content.range_reader import DEPTH, RangeReader
from tests.harness.filebytes import built, file_bytes


@pytest.fixture(autouse=True, scope="module")
def _small():
    """Leaves of 8 bytes and three children make high trees of little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unixfs, "CHUNK_BYTES", 8)
        patch.setattr(unixfs, "WIDTH", 3)
        yield


def file_node(*children: tuple[Cid, int], data: bytes = b"") -> tuple[Cid, bytes]:
    sizes = [size for _, size in children]
    about = pb.Data(Type=pb.Data.File, filesize=len(data) + sum(sizes), blocksizes=sizes)
    if data:
        about.Data = data
    raw = dag_pb.encode([dag_pb.Link(cid, "", 1) for cid, _ in children], about.SerializeToString())
    return Cid.of(DAG_PB, raw), raw


@given(
    st.integers(0, 400),
    st.integers(0, 420),
    st.none() | st.integers(0, 420),
    st.integers(1, 12),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_any_range_in_any_order(size, start, length, most, repeating, chance: random.Random):
    content = b"same8byt" * (size // 8) if repeating else file_bytes(size)
    root, blocks = built(content)
    end = None if length is None else start + length
    reader = RangeReader(root, start, end)
    read, taken, held = b"", 0, 0
    while not reader.done:
        wanted = reader.wanted(most)
        assert 0 < len(wanted) <= most
        cid = chance.choice(wanted)
        out = b"".join(reader.take(cid, blocks[cid].data))
        taken += 1
        assert reader.take(cid, blocks[cid].data) == []  # twice is once
        read += out
        held = max(held, reader._held)
    assert read == content[start:end]
    assert reader.size == len(content)
    assert held <= most + 1
    # no block outside the range was asked for, but for the nodes above it
    span = max(0, min(len(content), len(content) if end is None else end) - start)
    assert taken <= span // 8 + 2 + 2 * (span // 8 // 2 + 8)


def test_one_byte_of_a_large_file_takes_a_block_a_level():
    root, blocks = built(file_bytes(8 * 3**5))
    reader = RangeReader(root, 1000, 1001)
    asked = 0
    while not reader.done:
        (cid,) = reader.wanted(32)
        reader.take(cid, blocks[cid].data)
        asked += 1
    assert asked == 6


def test_a_block_that_does_not_come_stops_the_others():
    root, blocks = built(file_bytes(8 * 27))
    reader = RangeReader(root)
    first = built(file_bytes(8))[0]
    for _ in range(100):
        for cid in reader.wanted(4):
            if cid != first:
                assert reader.take(cid, blocks[cid].data) == []
    assert reader.wanted(4) == [first]
    assert reader._held == 4
    assert b"".join(reader.take(first, blocks[first].data)) == file_bytes(8 * 4)


def test_leaves_asked_for_beside_nodes_never_pile_up():
    """Nodes whose first child is a node and whose others are leaves: each could push what is held further behind."""
    leaf = b"x" * 8
    blocks = {Cid.of(RAW, leaf): leaf}
    cid, size = Cid.of(RAW, leaf), 8
    for _ in range(DEPTH - 1):
        cid, raw = file_node((cid, size), *[(Cid.of(RAW, leaf), 8)] * 8)
        size += 64
        blocks[cid] = raw
    reader = RangeReader(cid)
    read = 0
    while not reader.done:
        for wanted in reversed(reader.wanted(4)):
            read += sum(map(len, reader.take(wanted, blocks[wanted])))
            assert reader._held <= 5
    assert read == size == reader.size


def test_nodes_wider_and_wider(monkeypatch):
    """Each of a few small blocks names thousands that nobody has come to."""
    monkeypatch.setattr(limits, "FILE_PIECES", 1000)
    leaf = b"x" * 8
    blocks = {Cid.of(RAW, leaf): leaf}
    cid, size = Cid.of(RAW, leaf), 8
    for _ in range(4):
        cid, raw = file_node(*[(cid, size)] * 300)
        size *= 300
        blocks[cid] = raw
    reader = RangeReader(cid)
    for _ in range(3):
        (wanted,) = reader.wanted(1)
        reader.take(wanted, blocks[wanted])
    (wanted,) = reader.wanted(1)
    with pytest.raises(BlockError, match="before the next byte"):
        reader.take(wanted, blocks[wanted])


def test_nothing_is_a_file_too():
    root, blocks = built(b"")
    reader = RangeReader(root, 5)
    assert reader.take(*next((cid, blocks[cid].data) for cid in reader.wanted(1))) == []
    assert (reader.done, reader.size) == (True, 0)


def test_parts_of_nothing_are_not_fetched():
    """Or nodes of nothing could go on for ever."""
    empty = Cid.of(RAW, b"")
    cid, raw = file_node((empty, 0), (empty, 0), data=b"all there is")
    reader = RangeReader(cid)
    assert reader.wanted(8) == [cid]
    assert reader.take(cid, raw) == [b"all there is"]
    assert reader.done


@pytest.mark.parametrize("size", [7, 9, 0x7FFFFFFFFFFFFFFF])
def test_a_part_of_another_size_than_is_said(size):
    leaf = b"x" * 8
    cid, raw = file_node((Cid.of(RAW, leaf), size))
    reader = RangeReader(cid)
    reader.wanted(1)
    reader.take(cid, raw)
    (part,) = reader.wanted(1)
    with pytest.raises(BlockError) as caught:
        reader.take(part, leaf)
    assert caught.value.code == "bad_block"


def test_nodes_below_nodes_without_end():
    leaf = b"x" * 8
    cid, blocks = Cid.of(RAW, leaf), {Cid.of(RAW, leaf): leaf}
    for _ in range(DEPTH + 1):
        cid, raw = file_node((cid, 8))
        blocks[cid] = raw
    reader = RangeReader(cid)
    for _ in range(DEPTH):
        (wanted,) = reader.wanted(1)
        reader.take(wanted, blocks[wanted])
    (wanted,) = reader.wanted(1)
    with pytest.raises(BlockError, match="one below the other"):
        reader.take(wanted, blocks[wanted])


def test_what_is_no_file():
    block = unixfs.directory([])
    reader = RangeReader(block.cid)
    reader.wanted(1)
    with pytest.raises(BlockError) as caught:
        reader.take(block.cid, block.data)
    assert caught.value.code == "not_a_file"


@pytest.mark.parametrize(("start", "end"), [(-1, None), (2, 1)])
def test_ranges_that_are_none(start, end):
    with pytest.raises(ValueError, match="range"):
        RangeReader(Cid.of(RAW, b""), start, end)

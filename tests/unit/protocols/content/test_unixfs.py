from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.content import dag_pb, unixfs
from nexusd_protocols.content import unixfs_pb2 as pb
from nexusd_protocols.content.block import BlockError, read_block
from nexusd_protocols.content.cid import DAG_CBOR, DAG_PB, RAW, Cid
from nexusd_protocols.content.names import check_name
from nexusd_protocols.content.unixfs import (
    CHUNK_BYTES,
    WIDTH,
    Child,
    Directory,
    Entry,
    FileBuilder,
    Inner,
    Leaf,
    Other,
    directory,
    read_node,
    total_size,
)

HELLO = Cid.of(RAW, b"hello")


def node(about: pb.Data | None, *links: dag_pb.Link) -> tuple[Cid, bytes]:
    raw = dag_pb.encode(links, None if about is None else about.SerializeToString())
    return Cid.of(DAG_PB, raw), raw


@given(st.lists(st.integers(0, 600_000), max_size=6))
def test_pieces_do_not_matter(sizes):
    data = b"".join(bytes([at]) * size for at, size in enumerate(sizes))
    pieces, whole = FileBuilder(), FileBuilder()
    blocks = []
    at = 0
    for size in sizes:
        blocks += pieces.feed(data[at : at + size])
        at += size
    last, root, size = pieces.finish()
    again = whole.feed(data)
    rest, other, _ = whole.finish()
    assert (root, size, blocks + last) == (other, len(data), again + rest)


@pytest.mark.parametrize("leaves", [0, 1, 2, WIDTH - 1, WIDTH, WIDTH + 1, 2 * WIDTH, 2 * WIDTH + 1])
def test_every_block_is_small_and_links_to_those_before_it(monkeypatch, leaves):
    monkeypatch.setattr(unixfs, "CHUNK_BYTES", 4)
    builder = FileBuilder()
    blocks = builder.feed(b"".join(n.to_bytes(4, "big") for n in range(leaves)))
    last, root, size = builder.finish()
    seen = set()
    for block in blocks + last:
        assert read_block(block.cid, block.data) == block
        assert len(block.links) <= WIDTH
        assert seen.issuperset(block.links)
        seen.add(block.cid)
    assert (blocks + last)[-1].cid == root
    assert size == 4 * leaves


def test_a_file_of_174_times_174_leaves_and_one_has_four_levels(monkeypatch):
    monkeypatch.setattr(unixfs, "CHUNK_BYTES", 1)
    builder = FileBuilder()
    blocks = {block.cid: block for block in builder.feed(bytes(n % 251 for n in range(WIDTH * WIDTH + 1)))}
    last, root, size = builder.finish()
    blocks |= {block.cid: block for block in last}
    cid, level = root, []
    while isinstance(here := read_node(cid, blocks[cid].data), Inner):
        level.append(len(here.children))
        cid = here.children[0].cid
    assert (level, size) == ([2, WIDTH, WIDTH], WIDTH * WIDTH + 1)


def test_a_file_of_any_size_takes_little_memory(monkeypatch):
    monkeypatch.setattr(unixfs, "CHUNK_BYTES", 1)
    builder = FileBuilder()
    for _ in range(50):
        builder.feed(b"x" * 1000)
    assert len(builder._buffer) == 0
    assert sum(map(len, builder._levels)) < 3 * WIDTH


def test_a_finished_file_takes_no_more():
    builder = FileBuilder()
    builder.finish()
    with pytest.raises(AssertionError):
        builder.feed(b"more")


def test_a_directory_has_its_names_in_their_order():
    block = directory([Entry("b", HELLO, 5), Entry("ä", HELLO, 5), Entry("a", HELLO, 5), Entry("B", HELLO, 5)])
    read = read_node(block.cid, block.data)
    assert isinstance(read, Directory)
    assert [entry.name for entry in read.entries] == ["B", "a", "b", "ä"]
    assert block.links == (HELLO,)
    assert total_size(block.cid, block.data) == len(block.data) + 20


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0", "x" * 256, "ä" * 128, "\udcff"])
def test_names_that_no_file_has(name):
    with pytest.raises(ValueError, match="name"):
        check_name(name)
    with pytest.raises(ValueError, match="name"):
        directory([Entry(name, HELLO)])


def test_a_directory_has_bounds():
    with pytest.raises(ValueError, match="twice"):
        directory([Entry("a", HELLO), Entry("a", HELLO)])
    with pytest.raises(ValueError, match="entries"):
        directory([Entry(str(n), HELLO) for n in range(limits.DIRECTORY_ENTRIES + 1)])
    with pytest.raises(ValueError, match="bytes"):
        directory([Entry(f"{n:0255}", HELLO) for n in range(limits.DIRECTORY_ENTRIES)])


def test_what_a_node_is():
    assert read_node(HELLO, b"hello") == Leaf(b"hello")
    assert read_node(*node(pb.Data(Type=pb.Data.File, Data=b"in here", filesize=7))) == Leaf(b"in here")
    assert read_node(*node(pb.Data(Type=pb.Data.Raw, Data=b"in here"))) == Leaf(b"in here")
    assert read_node(*node(pb.Data(Type=pb.Data.File))) == Leaf(b"")
    link = dag_pb.Link(HELLO, "", 5)
    both = pb.Data(Type=pb.Data.File, Data=b"first ", filesize=11, blocksizes=[5])
    assert read_node(*node(both, link)) == Inner((Child(HELLO, 5),), 11, b"first ")
    assert read_node(*node(pb.Data(Type=pb.Data.Directory))) == Directory(())
    assert read_node(*node(pb.Data(Type=pb.Data.HAMTShard), link)) == Other("sharded directory")
    assert read_node(*node(pb.Data(Type=pb.Data.Symlink, Data=b"/etc/passwd"))) == Other("symbolic link")
    assert read_node(*node(pb.Data(Type=pb.Data.Metadata))) == Other("metadata")
    assert read_node(*node(None, link)) == Other("dag-pb")
    assert read_node(Cid.of(DAG_CBOR, b"\xa0"), b"\xa0") == Other("dag-cbor")


@pytest.mark.parametrize(
    ("about", "links"),
    [
        (pb.Data(Type=pb.Data.File, filesize=5), 1),
        (pb.Data(Type=pb.Data.File, filesize=5, blocksizes=[5]), 0),
        (pb.Data(Type=pb.Data.File, filesize=6, blocksizes=[5]), 1),
        (pb.Data(Type=pb.Data.File, Data=b"x", filesize=5, blocksizes=[5]), 1),
        (pb.Data(Type=pb.Data.File, Data=b"xy", filesize=1), 0),
        (pb.Data(Type=pb.Data.File, filesize=0, blocksizes=[0] * 8193), 8193),
    ],
)
def test_sizes_that_do_not_add_up(about, links):
    with pytest.raises(BlockError) as caught:
        read_node(*node(about, *[dag_pb.Link(HELLO)] * links))
    assert caught.value.code == "bad_block"


@given(st.binary(max_size=300))
def test_any_bytes_are_a_node_or_a_named_refusal(data):
    cid = Cid.of(DAG_PB, data)
    try:
        read_node(cid, data)
    except BlockError as error:
        assert error.code == "bad_block"  # noqa: PT017


def test_a_chunk_is_what_kubo_has():
    assert CHUNK_BYTES == 262_144

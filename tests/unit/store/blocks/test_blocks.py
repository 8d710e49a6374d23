"""What is put is had, checked; what is damaged is found; what is below a block is known."""

from dataclasses import replace
from random import Random

import apsw
import pytest

from nexusd.store import Store
from nexusd.store.blocks.layout import PAGE_BYTES
from nexusd.store.store import blocks_path
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import DAG_CBOR, RAW, Cid
from tests.harness.disk import flip_bit
from tests.unit.store.blocks.content import node, raw


async def test_a_block_comes_back_as_it_was(store) -> None:
    leaf = raw("leaf", 300_000)
    for block in (leaf, node(leaf), raw("")):
        assert await store.blocks.get(block.cid) is None
        assert await store.blocks.size(block.cid) is None
        assert await store.blocks.put([block], now=1) == 1
        assert await store.blocks.put([block], now=1) == 0
        assert await store.blocks.get(block.cid) == block
        assert await store.blocks.size(block.cid) == len(block.data)


async def test_without_its_links_a_block_is_checked_all_the_same(store) -> None:
    leaf = raw("leaf")
    parent = node(leaf)
    await store.blocks.put([parent], now=1)
    assert await store.blocks.get(parent.cid, links=False) == Block(parent.cid, parent.data)

    def damage(connection: apsw.Connection) -> None:
        connection.execute("UPDATE block_data SET data = zeroblob(length(data))")

    await store.blocks.database.write(damage)
    assert await store.blocks.get(parent.cid, links=False) is None
    assert await store.blocks.damaged(9) == [parent.cid]


async def test_what_is_here_of_many(store) -> None:
    here, absent = [raw(f"here {number}") for number in range(3)], raw("absent")
    await store.blocks.put(here, now=1)
    assert await store.blocks.has(block.cid for block in [*here, absent]) == {block.cid for block in here}
    usage = await store.blocks.usage()
    assert (usage.blocks, usage.bytes, usage.damaged) == (3, sum(len(block.data) for block in here), 0)


async def test_large_puts_are_made_in_parts(store) -> None:
    many = [raw(f"block {number}", 1 << 20) for number in range(9)]
    before = store.blocks.database.commits
    assert await store.blocks.put(many, now=1) == 9
    assert store.blocks.database.commits == before + 3
    assert await store.blocks.has(block.cid for block in many) == {block.cid for block in many}


async def test_bytes_that_came_under_a_name_without_links_get_them_later(store) -> None:
    leaf = raw("leaf")
    parent = node(leaf)
    plain = Block.of(RAW, parent.data)
    await store.blocks.put([plain], now=1)
    assert await store.blocks.has([plain.cid, parent.cid]) == {plain.cid}
    assert await store.blocks.missing(parent.cid, 9) == [parent.cid]
    assert await store.blocks.put([parent], now=2) == 0
    assert await store.blocks.missing(parent.cid, 9) == [leaf.cid]
    assert await store.blocks.put([plain], now=3) == 0
    assert await store.blocks.missing(parent.cid, 9) == [leaf.cid]
    assert await store.blocks.get(plain.cid) == plain
    assert await store.blocks.get(parent.cid) == parent


async def test_bytes_that_are_not_what_a_codec_allows_are_not_had_under_it(store) -> None:
    plain = raw("no CBOR")
    await store.blocks.put([plain], now=1)
    assert await store.blocks.get(Cid(DAG_CBOR, plain.cid.digest)) is None
    assert await store.blocks.damaged(9) == []
    assert await store.blocks.get(plain.cid) == plain


async def test_what_is_missing_below_a_block(store) -> None:
    leaves = [raw(f"leaf {number}") for number in range(6)]
    left, right = node(*leaves[:3]), node(*leaves[3:], leaves[0])
    root = node(left, right)
    assert await store.blocks.missing(root.cid, 9) == [root.cid]
    await store.blocks.put([root, leaves[1]], now=1)
    assert set(await store.blocks.missing(root.cid, 9)) == {left.cid, right.cid}
    await store.blocks.put([left, right], now=1)
    assert set(await store.blocks.missing(root.cid, 9)) == {leaf.cid for leaf in leaves} - {leaves[1].cid}
    assert len(await store.blocks.missing(root.cid, 2)) == 2
    await store.blocks.put(leaves, now=1)
    assert await store.blocks.missing(root.cid, 9) == []


async def test_a_block_that_names_itself_is_no_endless_way(store) -> None:
    """Nobody can make one; a database in which there is one is read all the same."""
    block = raw("a")
    await store.blocks.put([replace(block, links=(block.cid,))], now=1)
    assert await store.blocks.missing(block.cid, 9) == []


async def damage(store: Store, block: Block, change: str) -> None:
    def write(connection: apsw.Connection) -> None:
        connection.execute(
            f"UPDATE block_data SET data = {change} WHERE id = (SELECT data FROM blocks WHERE digest = ?)",
            (block.cid.digest,),
        )

    await store.blocks.database.write(write)


@pytest.mark.parametrize("change", ["x'00'", "x''", "CAST(data || x'00' AS BLOB)"])
async def test_a_damaged_block_is_dropped_listed_and_had_again(store, change) -> None:
    leaf, other = raw("leaf", 1000), raw("other")
    parent = node(leaf)
    await store.blocks.put([leaf, other, parent], now=1)
    await damage(store, leaf, change)
    assert await store.blocks.get(leaf.cid) is None
    assert await store.blocks.damaged(9) == [leaf.cid]
    assert (await store.blocks.usage()).damaged == store.blocks.found_damaged == 1
    assert await store.blocks.has([leaf.cid]) == set()
    assert await store.blocks.size(leaf.cid) is None
    assert await store.blocks.missing(parent.cid, 9) == [leaf.cid]
    assert await store.blocks.get(other.cid) == other
    assert await store.blocks.put([leaf], now=2) == 1
    assert await store.blocks.get(leaf.cid) == leaf
    assert await store.blocks.damaged(9) == []


async def test_a_damaged_node_keeps_what_is_below_it_until_it_is_had_again(store) -> None:
    leaf = raw("leaf")
    parent = node(leaf)
    await store.blocks.put([leaf, parent], now=1)
    await damage(store, parent, "x'00'")
    assert await store.blocks.get(parent.cid) is None
    assert await store.blocks.missing(parent.cid, 9) == [parent.cid]


def chain_page(file: bytes, block: Block) -> int:
    """Where a page is that holds a part of a block, behind the number of the next page."""
    return next(at for at in range(0, len(file), PAGE_BYTES) if file[at + 4 : at + 2000] in block.data)


async def test_a_flipped_bit_of_a_block_is_found_wherever_it_is(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    block = raw("block", 40_000)
    async with Store.open(path) as store:
        await store.blocks.put([block], now=1)
    file = blocks_path(path)
    whole = file.read_bytes()
    page = chain_page(whole, block)
    rng = Random(7)
    for _ in range(12):
        file.write_bytes(whole)
        flip_bit(file, (page + rng.randrange(PAGE_BYTES)) * 8 + rng.randrange(8))
        async with Store.open(path) as store:
            assert await store.blocks.get(block.cid) is None
            assert await store.blocks.damaged(9) == [block.cid]


async def test_a_chain_of_pages_that_leads_nowhere_is_damage_and_no_error(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    block, other = raw("block", 400_000), raw("other", 100)
    async with Store.open(path) as store:
        await store.blocks.put([block, other], now=1)
    file = blocks_path(path)
    whole = bytearray(file.read_bytes())
    at = chain_page(bytes(whole), block)
    whole[at : at + 4] = (1 << 30).to_bytes(4, "big")  # the next page of the chain
    file.write_bytes(whole)
    async with Store.open(path) as store:
        assert await store.blocks.get(block.cid) is None
        assert await store.blocks.damaged(9) == [block.cid]
        assert await store.blocks.get(other.cid) == other
        assert await store.blocks.put([block], now=2) == 1
        assert await store.blocks.get(block.cid) == block

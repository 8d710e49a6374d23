"""A bit of the file of blocks flips, anywhere. No wrong byte is given out: a block is as it was, or is said not to be
here, or the store says that it is damaged."""

from pathlib import Path
from random import Random

import pytest

from nexusd.store import Store
from nexusd.store.blocks.layout import PAGE_BYTES
from nexusd.store.errors import StorageError
from nexusd.store.store import blocks_path
from nexusd_protocols.content.block import Block
from tests.harness.disk import flip_bit
from tests.unit.store.blocks.content import node, raw

LEAVES = [raw(f"leaf {number}", size) for number, size in enumerate((3, 900, 5_000, 40_000, 90_000))]
BLOCKS = [*LEAVES, node(*LEAVES), node(node(*LEAVES[:2]), name="root")]


@pytest.fixture
async def whole(tmp_path: Path) -> bytes:
    path = tmp_path / "made.sqlite"
    async with Store.open(path) as store:
        await store.blocks.put(BLOCKS, now=1)
    return blocks_path(path).read_bytes()


async def served(path: Path) -> dict[Block, Block | StorageError | None]:
    """What a store that opens gives for each."""
    found: dict[Block, Block | StorageError | None] = {}
    async with Store.open(path) as store:
        for block in BLOCKS:
            try:
                found[block] = await store.blocks.get(block.cid)
            except StorageError as error:
                found[block] = error
    return found


async def flips(path: Path, whole: bytes, places: list[int]) -> tuple[int, int]:
    """How many flips made a block not be had, and how many the whole store."""
    missed = refused = 0
    for place in places:
        blocks_path(path).write_bytes(whole)
        flip_bit(blocks_path(path), place)
        try:
            found = await served(path)
        except StorageError:
            refused += 1
            continue
        wrong = [block for block, got in found.items() if isinstance(got, Block) and got != block]
        assert not wrong, f"bit {place}"
        missed += any(got != block for block, got in found.items())
    return missed, refused


async def test_a_flipped_bit_anywhere_gives_no_wrong_byte(tmp_path, whole) -> None:
    rng = Random(3)
    places = [rng.randrange(len(whole) * 8) for _ in range(60)]
    missed, _ = await flips(tmp_path / "store.sqlite", whole, places)
    assert missed > 10  # most of the file is blocks


async def test_a_flipped_bit_of_what_says_where_blocks_are_gives_no_wrong_byte(tmp_path, whole) -> None:
    """The first bytes of pages: headers of trees, where rows are, chains."""
    rng = Random(4)
    pages = len(whole) // PAGE_BYTES
    places = [(rng.randrange(1, pages) * PAGE_BYTES + rng.randrange(40)) * 8 + rng.randrange(8) for _ in range(60)]
    await flips(tmp_path / "store.sqlite", whole, places)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(8))
async def test_many_flipped_bits_give_no_wrong_byte(tmp_path, whole, seed) -> None:
    rng = Random(f"many {seed}")
    places = [rng.randrange(len(whole) * 8) for _ in range(500)]
    places += [rng.randrange(len(whole) // PAGE_BYTES) * PAGE_BYTES * 8 + rng.randrange(400) for _ in range(500)]
    await flips(tmp_path / "store.sqlite", whole, places)

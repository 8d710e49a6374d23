"""What takes long is done beside the loop."""

from __future__ import annotations

import threading
from functools import partial

import trio

from nexusd.services.work import LIGHT_BYTES, at_leisure
from nexusd_protocols import limits
from nexusd_protocols.content import dag_pb
from nexusd_protocols.content.block import read_block
from nexusd_protocols.content.cid import DAG_PB, RAW, Cid


async def test_little_is_done_at_once_and_much_in_a_thread() -> None:
    assert await at_leisure(LIGHT_BYTES, threading.get_ident) == threading.get_ident()
    assert await at_leisure(LIGHT_BYTES + 1, threading.get_ident) != threading.get_ident()


async def test_the_loop_goes_on_while_a_block_full_of_links_is_read() -> None:
    links = [dag_pb.Link(Cid.of(RAW, number.to_bytes(4, "big")), "", 1) for number in range(44_000)]
    data = dag_pb.encode(links, None)
    assert len(data) <= limits.BLOCK_BYTES
    turns = 0
    async with trio.open_nursery() as nursery:

        async def count() -> None:
            nonlocal turns
            while True:
                await trio.sleep(0.001)
                turns += 1

        nursery.start_soon(count)
        block = await at_leisure(len(data), partial(read_block, Cid.of(DAG_PB, data), data))
        nursery.cancel_scope.cancel()
    assert len(block.links) == len(links)
    assert turns >= 5

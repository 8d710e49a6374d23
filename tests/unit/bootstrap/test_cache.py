"""Peers known from before."""

from __future__ import annotations

import pytest
import trio

from nexusd_bootstrap.cache import Cache
from nexusd_bootstrap.candidate import ADDRESSES, Candidate
from tests.harness.people import ALICE, BOB, CAROL


async def test_remembered_peers_are_offered_once_in_order(autojump_clock):
    async def load():
        return [
            (BOB.peer_id, [f"/ip4/10.0.0.1/tcp/{port}" for port in range(1, 40)]),
            (CAROL.peer_id, []),
            (ALICE.peer_id, ["/ip4/10.0.0.2/tcp/1"]),
        ]

    send, receive = trio.open_memory_channel(10)
    source = Cache(load)
    async with send:
        await source.run(send)
    first, second = [candidate async for candidate in receive]
    assert first.peer == BOB.peer_id
    assert len(first.addresses) == ADDRESSES
    assert second == Candidate(ALICE.peer_id, ("/ip4/10.0.0.2/tcp/1",), "cache")
    assert source.describe() == "2 remembered peers offered"


async def test_only_the_best_are_offered(autojump_clock):
    async def load():
        return [(BOB.peer_id, ["/ip4/10.0.0.1/tcp/1"]), (ALICE.peer_id, ["/ip4/10.0.0.2/tcp/1"])]

    send, receive = trio.open_memory_channel(10)
    async with send:
        await Cache(load, max_peers=1).run(send)
    assert [candidate.peer async for candidate in receive] == [BOB.peer_id]


async def test_what_cannot_be_read_is_the_cascades_business(autojump_clock):
    async def load():
        raise OSError("disk")

    send, _ = trio.open_memory_channel(0)
    with pytest.raises(OSError, match="disk"):
        await Cache(load).run(send)

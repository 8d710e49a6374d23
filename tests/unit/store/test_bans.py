"""Bans, one a peer."""

from __future__ import annotations

from dataclasses import replace

from nexusd.store.bans import Ban
from tests.unit.store.people import BOB, CAROL, MALLORY

BAN = Ban(peer=MALLORY, reason="too_many_pings", since=100, until=700)


async def test_a_ban_is_kept_as_it_was(store) -> None:
    by_hand = Ban(peer=BOB, reason="too loud", since=50, until=60, times=3, by_hand=True)
    await store.bans.put(BAN)
    await store.bans.put(by_hand)
    assert await store.bans.list() == [by_hand, BAN]


async def test_a_new_ban_takes_the_place_of_the_last(store) -> None:
    again = replace(BAN, since=800, until=9000, times=2, reason="reads_nothing")
    await store.bans.put(BAN)
    await store.bans.put(again)
    assert await store.bans.list() == [again]


async def test_bans_are_forgotten_together(store) -> None:
    for peer in (MALLORY, BOB, CAROL):
        await store.bans.put(replace(BAN, peer=peer))
    await store.bans.remove([MALLORY, CAROL, MALLORY])
    assert [ban.peer for ban in await store.bans.list()] == [BOB]

"""History as the published network asks for it: batches and checkpoints of version 1, made of what was verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nexusd.services.rooms import published
from nexusd.services.rooms.intake import Brought
from nexusd.services.rooms.published import KEPT_MS, Published
from nexusd_protocols.chatsync.published import PROTOCOL, Ask, PublishedRequester, Tell
from nexusd_protocols.content.cid import JSON, Cid
from nexusd_protocols.history import v1
from nexusd_protocols.history.bounds import HOUR_MS
from nexusd_protocols.ids import RoomId
from tests.harness.history import said
from tests.harness.members import NOW, ROOM, Member, MemberStreams, members
from tests.harness.nodes import signer

CAROL = signer("carol")


def served(member: Member) -> Published:
    streams: Any = MemberStreams(member.world, member.peer_id)
    service = Published(
        streams=streams,
        store=member.store,
        clock=lambda: member.now,
        find=lambda room: member.joined if room == ROOM else None,
    )
    service.start()
    return service


async def ask(member: Member, **request: Any) -> Tell:
    """As a published peer does."""
    streams = MemberStreams(member.world, CAROL.peer_id)
    channel = await streams.open(member.peer_id, [PROTOCOL], lambda _: PublishedRequester())
    await channel.send(Ask(**{"room": ROOM, **request}))
    await channel.close_write()
    told = await channel.receive()
    assert isinstance(told, Tell)
    return told


async def say(member: Member, hours_ago: int, count: int = 1) -> None:
    messages = [
        said(CAROL, ROOM, f"{hours_ago}/{n}", NOW - hours_ago * HOUR_MS + n, hours_ago * 1000 + n) for n in range(count)
    ]
    taken = await member.intake.take(member.joined, [Brought(message.encode()) for message in messages])
    assert taken.stored == count
    await member.sealing.seal(member.joined)


async def contents(member: Member, cids: tuple[Cid, ...]) -> list[list[str]]:
    found = []
    for cid in cids:
        assert cid.codec == JSON
        block = await member.store.blocks.get(cid)
        assert block is not None
        batch = v1.read_batch(block, room=ROOM)
        assert batch.author == member.peer_id
        found.append([message.content for message in batch.messages])
    return found


async def test_batches_are_told_the_oldest_first_and_are_there(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        served(alice)
        assert await ask(alice) == Tell(None, ())
        await say(alice, 4, 2)
        await say(alice, 9)
        told = await ask(alice)
        assert await contents(alice, told.batches) == [["9/0"], ["4/0", "4/1"]]
        assert told.latest is not None
        block = await alice.store.blocks.get(told.latest)
        assert block is not None
        checkpoint = v1.read_checkpoint(block, room=ROOM)
        assert checkpoint.batch_cids == tuple(map(str, told.batches))
        assert await ask(alice) == told, "the same again, and made once"
        await say(alice, 3)
        assert (await ask(alice)).batches[:2] == told.batches
        assert len((await ask(alice, max_batches=1)).batches) == 1


async def test_a_room_that_is_not_here_has_nothing(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        served(alice)
        await say(alice, 4)
        assert await ask(alice, room=RoomId("elsewhere")) == Tell(None, ())


async def test_what_is_behind_a_known_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v1, "CHECKPOINT_BATCHES", 2)
    monkeypatch.setattr(v1.render_checkpoints, "__kwdefaults__", {"size": 2})
    async with members(tmp_path, "alice") as (alice,):
        service = served(alice)
        for hours in range(8, 3, -1):
            await say(alice, hours)
        told = await ask(alice)
        assert len(told.batches) == 5
        (rendered,) = service._rendered.values()
        assert len(rendered.chain) == 3
        behind = await ask(alice, since=rendered.chain[0])
        assert behind.batches == told.batches[2:]
        assert (await ask(alice, since=told.latest)).batches == ()
        assert (await ask(alice, since=Cid.of(JSON, b"unknown"))).batches == told.batches


async def test_only_so_many_of_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "BATCHES", 2)
    async with members(tmp_path, "alice") as (alice,):
        served(alice)
        for hours in range(8, 3, -1):
            await say(alice, hours)
        assert await contents(alice, (await ask(alice)).batches) == [["5/0"], ["4/0"]]


async def test_what_the_collector_took_is_put_again(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        served(alice)
        await say(alice, 4)
        told = await ask(alice)
        alice.now += 2 * 3_600_000
        await alice.store.blocks.collect(now=alice.now)
        assert await alice.store.blocks.get(told.batches[0]) is None, "nothing keeps it"
        assert alice.now - NOW > KEPT_MS
        assert await ask(alice) == told
        assert await contents(alice, told.batches) == [["4/0"]]

"""History as the published network asks for it: batches and checkpoints of version 1, made of what was verified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from nexusd.services.rooms import published
from nexusd.services.rooms.intake import Brought
from nexusd.services.rooms.published import KEPT_MS, Published
from nexusd.store.errors import StorageFullError
from nexusd_protocols.chatsync.published import PROTOCOL, Ask, PublishedRequester, Tell
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import JSON, Cid
from nexusd_protocols.history import v1
from nexusd_protocols.history.bounds import HOUR_MS
from nexusd_protocols.ids import RoomId
from tests.harness.history import said
from tests.harness.members import NOW, ROOM, Member, MemberStreams, members
from tests.harness.nodes import signer

CAROL = signer("carol")


def served(member: Member, room_for: Callable[[int], None] = lambda _: None) -> Published:
    streams: Any = MemberStreams(member.world, member.peer_id)
    service = Published(
        streams=streams,
        store=member.store,
        clock=lambda: member.now,
        find=lambda room: member.joined if room == ROOM else None,
        penalise=member.world.charge,
        room_for=room_for,
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


def written(member: Member, monkeypatch: pytest.MonkeyPatch) -> list[Cid]:
    """The blocks that are put from now on."""
    put_all = member.store.blocks.put
    cids: list[Cid] = []

    async def put(blocks: Sequence[Block], *, now: int) -> int:
        cids.extend(block.cid for block in blocks)
        return await put_all(blocks, now=now)

    monkeypatch.setattr(member.store.blocks, "put", put)
    return cids


async def test_a_question_has_so_much_made_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "AT_ONCE", 2)
    async with members(tmp_path, "alice") as (alice,):
        service = served(alice)
        for hours in range(8, 3, -1):
            await say(alice, hours)
        put = written(alice, monkeypatch)
        told = [await ask(alice) for _ in range(4)]
        assert [len(each.batches) for each in told] == [2, 4, 5, 5]
        assert told[2].batches[:2] == told[0].batches, "the oldest first, so a chain grows at its end"
        batches = [cid for cid in put if cid in told[-1].batches]
        assert sorted(batches) == sorted(told[-1].batches), "each is written once"
        assert all(rendered.whole for rendered in service._rendered.values())


async def test_what_is_still_there_is_not_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with members(tmp_path, "alice") as (alice,):
        served(alice)
        await say(alice, 4)
        told = await ask(alice)
        put = written(alice, monkeypatch)
        for _ in range(4):
            alice.now += KEPT_MS + 1
            assert await ask(alice) == told
            await alice.store.blocks.collect(now=alice.now)
        assert put == []
        assert await contents(alice, told.batches) == [["4/0"]]


@pytest.mark.parametrize("bound", ["ROOM_BYTES", "ALL_BYTES"])
async def test_a_room_has_so_many_bytes_of_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    async with members(tmp_path, "alice") as (alice,):
        service = served(alice)
        for hours in range(8, 3, -1):
            await say(alice, hours, 20)
        refs = await alice.store.batches.batch_refs(alice.agent.id, ROOM, limit=9)
        sizes = [await alice.store.blocks.size(ref.cid) or 0 for ref in refs]
        monkeypatch.setattr(published, bound, sum(sizes[-2:]) + 1)
        said = await contents(alice, (await ask(alice)).batches)
        assert [each[0] for each in said] == ["5/0", "4/0"]
        (rendered,) = service._rendered.values()
        assert 0 < rendered.size <= sum(sizes[-2:])


async def test_only_so_much_is_written_in_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "WRITTEN_BYTES", (1.0, 1e-6))
    monkeypatch.setattr(published, "PUT_AT_ONCE_BYTES", 1)
    async with members(tmp_path, "alice") as (alice,):
        served(alice)
        for hours in range(8, 3, -1):
            await say(alice, hours)
        put = written(alice, monkeypatch)
        for _ in range(3):
            assert len((await ask(alice)).batches) == 1
        assert len(put) == 2, "a batch, and the checkpoint of it"


async def test_a_full_disk_keeps_its_reserve_and_what_there_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = False

    def room_for(size: int) -> None:
        assert size > 0
        if full:
            raise StorageFullError("The disk is full")

    async with members(tmp_path, "alice") as (alice,):
        served(alice, room_for)
        await say(alice, 8)
        told = await ask(alice)
        await say(alice, 4)
        full = True
        put = written(alice, monkeypatch)
        assert await ask(alice) == told
        assert put == []
        full = False
        assert len((await ask(alice)).batches) == 2


async def test_who_asks_too_often_is_told_what_there_is_and_has_nothing_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "QUESTIONS", (1.0, 1e-6))
    async with members(tmp_path, "alice") as (alice,):
        served(alice)
        await say(alice, 8)
        told = await ask(alice)
        await say(alice, 4)
        put = written(alice, monkeypatch)
        assert await ask(alice) == told
        assert put == []
        assert [charge[1:] for charge in alice.world.charged] == [("too_many_comparisons", 1)]

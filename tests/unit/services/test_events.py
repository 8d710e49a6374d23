"""The event feed: live events for who listens, stored ones behind a cursor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from nexusd.services.events import LIVE_BACKLOG, Events
from nexusd.services.ports import LiveEvent
from nexusd.store.paging import PAGE_CHARS
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import MessageId, RoomId
from nexusd_protocols.rpc.schema import DirectMessage
from tests.harness.nodes import signer
from tests.harness.stores import opened

ALICE, BOB = AgentId(signer("alice").peer_id), signer("bob").peer_id


def live(number: int = 0, **fields: Any) -> LiveEvent:
    values: dict[str, Any] = {"kind": "presence", "type": "changed", "at": number, "data": number, **fields}
    return LiveEvent(**values)


def unstored() -> Events:
    store: Any = None
    return Events(store, lambda _: None)


async def test_each_listener_hears_what_it_asked_for() -> None:
    events = unstored()
    async with (
        events.subscribe_live() as everything,
        events.subscribe_live(kinds=["peer"]) as peers,
        events.subscribe_live(room="general") as room,
        events.subscribe_live(kinds=["presence"], room="general", peer="bob") as bob,
    ):
        events.emit(live(1, kind="peer", peer="bob"))
        events.emit(live(2, room="general", peer="carol"))
        events.emit(live(3, room="general", peer="bob"))
        events.emit(live(4, room="other", peer="bob"))

        def heard(channel: trio.MemoryReceiveChannel[LiveEvent]) -> list[int]:
            numbers = []
            while channel.statistics().current_buffer_used:
                numbers.append(channel.receive_nowait().at)
            return numbers

        assert [heard(channel) for channel in (everything, peers, room, bob)] == [[1, 2, 3, 4], [1], [2, 3], [3]]


async def test_a_listener_that_is_behind_loses_what_finds_no_room_and_holds_nobody_up() -> None:
    events = unstored()
    async with events.subscribe_live() as slow, events.subscribe_live() as quick:
        for number in range(LIVE_BACKLOG + 10):
            events.emit(live(number))
            assert quick.receive_nowait().at == number
        assert events.lost == 10
        assert slow.statistics().current_buffer_used == LIVE_BACKLOG
        assert slow.receive_nowait().at == 0


async def test_who_left_is_forgotten() -> None:
    events = unstored()
    async with events.subscribe_live() as channel:
        await channel.aclose()
        events.emit(live())  # it is leaving: no error
    assert events._listeners == {}
    assert events.lost == 0


async def test_stored_events_come_as_doors_show_them(tmp_path: Path) -> None:
    async with opened(tmp_path / "store.sqlite") as store:
        events = Events(store, {str(BOB): "bob"}.get)
        assert (events.newest(), await events.read(after=0)) == (0, [])
        await store.rooms.join(ALICE, RoomId("general"), 1)
        await store.inbox.receive(
            ALICE, peer=BOB, message_id=MessageId("m"), content="just us", format="text/plain", now=2
        )
        joined, message = await events.read(after=0)
        assert (joined.kind, joined.type, joined.data) == ("room", "joined", {"room": "general"})
        assert isinstance(message.data, DirectMessage)
        assert (message.data.content, message.data.sender_name, message.at) == ("just us", "bob", 2)
        assert [event.cursor for event in await events.read(after=joined.cursor)] == [message.cursor]
        assert events.newest() == message.cursor
        assert await events.read(after=0, kinds=["presence"]) == []


async def test_large_messages_come_in_several_pages_and_none_is_missing(tmp_path: Path) -> None:
    async with opened(tmp_path / "store.sqlite") as store:
        events = Events(store, lambda _: None)
        for number in range(10):
            await store.inbox.receive(
                ALICE,
                peer=BOB,
                message_id=MessageId(f"m{number}"),
                content="x" * (PAGE_CHARS // 4),
                format="text/plain",
                now=number,
            )
        seen: list[int] = []
        while page := await events.read(after=seen[-1] if seen else 0, limit=64):
            assert len(page) < 10
            seen += [event.cursor for event in page]
        assert seen == list(range(1, 11))


async def test_waiting_ends_when_something_is_stored(tmp_path: Path) -> None:
    async with opened(tmp_path / "store.sqlite") as store:
        events = Events(store, lambda _: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.rooms.join, ALICE, RoomId("general"), 1)
            with trio.fail_after(10):
                assert await events.wait_beyond(0) == 1

"""What is told of a node follows what it is: at once, in time, after a restart, and to its end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from nexusd.services.directory import publisher
from nexusd.services.directory.publisher import DEBOUNCE_S, LOOK_S
from nexusd_protocols.content.cid import RAW, Cid
from nexusd_protocols.ids import RoomId
from nexusd_protocols.pointer.envelope import sign
from nexusd_protocols.pointer.keys import TTL_MS, Key, meeting_place
from tests.harness.directory import MemorySettings, Resident, World
from tests.harness.people import ALICE, BOB

HOUR = 3600
CID = Cid.of(RAW, b"history")
SOON = DEBOUNCE_S + 0.5


@asynccontextmanager
async def running(*residents: Resident) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for resident in residents:
            nursery.start_soon(resident.directory.run)
        yield
        nursery.cancel_scope.cancel()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def alice(world: World) -> Resident:
    return Resident(world, ALICE)


async def test_what_there_is_is_published(autojump_clock, world, alice):
    alice.joins("lab")
    alice.serves("upper")
    alice.directory.checkpointed(RoomId("lab"), CID)
    async with running(alice):
        await trio.sleep(SOON)
        for kind, name in (("profile-pointer", ""), ("room-pointer", "lab"), ("capability-pointer", "upper")):
            pointer = world.pointer(alice.key(kind, name))
            assert pointer.cid in world.blocks
            assert pointer.expires_at - pointer.issued_at == TTL_MS[kind]
        assert world.pointer(alice.key("checkpoint-pointer", "lab")).cid == CID
        for kind, name in (("room-pointer", "lab"), ("capability-pointer", "upper")):
            assert alice.peer_id in world.providers[str(meeting_place(kind, name))]


async def test_a_document_is_kept_before_anybody_hears_of_it(autojump_clock, world, alice):
    kept: list[int] = []

    async def put(key, value, before=alice.names.put):
        kept.append(len(world.blocks))
        return await before(key, value)

    alice.names.put = put
    async with running(alice):
        await trio.sleep(SOON)
    assert kept == [1]


async def test_changes_are_told_together(autojump_clock, world, alice):
    async with running(alice):
        await trio.sleep(SOON)
        first = world.pointer(alice.key("profile-pointer"))
        alice.names.puts.clear()
        for number in range(5):
            alice.serves(f"c{number}")
            await trio.sleep(DEBOUNCE_S / 10)
        await trio.sleep(SOON)
        counted = Counter(key for _, key in alice.names.puts)
        assert len(counted) == 6
        assert set(counted.values()) == {1}
        second = world.pointer(alice.key("profile-pointer"))
        assert second.seq > first.seq
        profile = json.loads(world.blocks[second.cid])
        assert profile["capabilities"] == [f"c{number}" for number in range(5)]
        assert profile["previousVersion"] == str(first.cid)


async def test_what_changed_without_a_word_is_noticed(autojump_clock, world, alice):
    async with running(alice):
        await trio.sleep(SOON)
        alice.addresses = [f"/ip4/8.8.8.8/tcp/1/p2p/{alice.peer_id}"]
        await trio.sleep(LOOK_S + SOON)
        profile = json.loads(world.blocks[world.pointer(alice.key("profile-pointer")).cid])
        assert profile["transports"] == alice.addresses


async def test_every_pointer_is_renewed_before_its_time_is_over(autojump_clock, world, alice, monkeypatch):
    look_s = 120.0  # a day in a few hundred looks
    monkeypatch.setattr(publisher, "LOOK_S", look_s)
    alice.joins("lab")
    alice.serves("upper")
    alice.directory.checkpointed(RoomId("lab"), CID)
    keys = [
        alice.key("profile-pointer"),
        alice.key("room-pointer", "lab"),
        alice.key("capability-pointer", "upper"),
        alice.key("checkpoint-pointer", "lab"),
    ]
    async with running(alice):
        await trio.sleep(SOON)
        cids = {key: world.pointer(key).cid for key in keys}
        for _ in range(26 * 6):
            await trio.sleep(HOUR / 6)
            for key in keys:
                # so much is left that a whole round of renewal could fail
                left = world.pointer(key).expires_at - world.now()
                assert left > TTL_MS[key.kind] * 0.5 - (look_s + SOON) * 1000
        counted = Counter(key for _, key in alice.names.puts)
        for key in keys:
            most = 26.5 * HOUR * 1000 / (TTL_MS[key.kind] * 0.4) + 1
            assert most / 1.4 - 1 <= counted[str(key)] <= most
            if key.kind != "room-pointer":  # that of a room counts anew who is there
                assert world.pointer(key).cid == cids[key], "nothing new was said"


async def test_what_is_no_more_is_taken_back(autojump_clock, world, alice):
    alice.joins("lab")
    alice.joins("hall")
    alice.directory.checkpointed(RoomId("lab"), CID)
    async with running(alice):
        await trio.sleep(SOON)
        before = world.pointer(alice.key("room-pointer", "lab"))
        alice.leaves("lab")
        await trio.sleep(SOON)
        for kind in ("room-pointer", "checkpoint-pointer"):
            after = world.pointer(alice.key(kind, "lab"))
            assert after.withdrawn
            assert after.seq > before.seq
        assert not world.pointer(alice.key("room-pointer", "hall")).withdrawn
        # and comes back
        alice.joins("lab")
        await trio.sleep(SOON)
        assert not world.pointer(alice.key("room-pointer", "lab")).withdrawn
        assert world.pointer(alice.key("checkpoint-pointer", "lab")).withdrawn, "of what we no longer have"


async def test_at_the_end_nobody_is_sent_to_capabilities(autojump_clock, world, alice):
    alice.joins("lab")
    alice.serves("upper")
    async with running(alice):
        await trio.sleep(SOON)
        await alice.directory.say_goodbye()
        assert world.pointer(alice.key("capability-pointer", "upper")).withdrawn
        assert not world.pointer(alice.key("room-pointer", "lab")).withdrawn
        count = len(alice.names.puts)
        alice.serves("lower")
        await trio.sleep(LOOK_S + SOON)
        assert len(alice.names.puts) == count


async def test_storage_is_offered_while_a_room_is_mirrored_and_somebody_is_here(autojump_clock, world, alice):
    key = alice.key("storage-offer")
    async with running(alice):
        alice.joins("lab", mirror=True, retention="mirrored")
        await trio.sleep(SOON)
        offered = json.loads(world.blocks[world.pointer(key).cid])
        assert offered["rooms"] == [{"roomId": "lab", "retentionClass": "mirrored"}]
        alice.joins("hall", mirror=True)
        await trio.sleep(SOON)
        assert len(json.loads(world.blocks[world.pointer(key).cid])["rooms"]) == 2
        await trio.sleep(HOUR)
        assert world.pointer(key).expires_at > world.now() + HOUR * 500, "renewed"
        alice.leaves("lab")
        alice.leaves("hall")
        await trio.sleep(SOON)
        assert world.pointer(key).withdrawn
        alice.joins("lab", mirror=True)
        await trio.sleep(SOON)
        assert not world.pointer(key).withdrawn
        await alice.directory.say_goodbye()
        assert world.pointer(key).withdrawn


async def test_the_end_does_not_wait_for_a_network_that_is_gone(autojump_clock, world, alice):
    alice.serves("upper")
    async with running(alice):
        await trio.sleep(SOON)

        async def put(key, value):
            await trio.sleep_forever()

        alice.names.put = put
        began = trio.current_time()
        await alice.directory.say_goodbye()
        assert trio.current_time() - began == pytest.approx(1.0)


async def test_after_a_restart_what_is_still_so_is_told_anew_and_the_rest_taken_back(autojump_clock, world, alice):
    alice.joins("lab")
    alice.serves("upper")
    async with running(alice):
        await trio.sleep(SOON)
    before = {key: world.pointer(Key.parse(key)).seq for key in world.records}
    world.skew_ms = -60_000  # and the clock went back
    told = json.loads(alice.settings.values["directory/told"])
    alice.settings.values["directory/told"] = json.dumps([*told, "/nexus/of-a-later-version/x"])
    again = Resident(world, ALICE, alice.settings)
    again.joins("lab")
    async with running(again):
        await trio.sleep(SOON)
        assert world.pointer(again.key("capability-pointer", "upper")).withdrawn
        assert not world.pointer(again.key("room-pointer", "lab")).withdrawn
        for key, seq in before.items():
            assert world.pointer(Key.parse(key)).seq > seq


async def test_who_lost_his_disk_and_whose_clock_went_back_wins_against_himself(autojump_clock, world, alice):
    newer = sign(ALICE, alice.key("profile-pointer"), CID, seq=2**50, now=world.now())
    world.records[str(alice.key("profile-pointer"))] = newer
    async with running(alice):
        await trio.sleep(SOON)
        pointer = world.pointer(alice.key("profile-pointer"))
        assert pointer.seq == 2**50 + 1
        assert pointer.cid != CID


async def test_a_full_disk_holds_back_and_loses_nothing(autojump_clock, world, alice):
    alice.joins("lab")
    alice.settings.full = True
    async with running(alice):
        await trio.sleep(SOON)
        assert world.records == {}, "what could not be taken back after a crash is not told"
        alice.settings.full = False
        await trio.sleep(LOOK_S + SOON)
        assert world.pointer(alice.key("room-pointer", "lab")) is not None
        kept = json.loads(alice.settings.values["directory/told"])
        assert kept == sorted(world.records)


async def test_a_document_that_cannot_be_kept_is_not_pointed_to(autojump_clock, world, alice):
    full = True

    async def keep(block, name, before=world.keep):
        if full:
            raise OSError("no room")
        await before(block, name)

    alice.directory._publisher._keep = keep
    async with running(alice):
        await trio.sleep(SOON)
        assert world.records == {}
        full = False
        await trio.sleep(LOOK_S + SOON)
        assert world.pointer(alice.key("profile-pointer")) is not None


async def test_two_publish_under_one_name_and_neither_overwrites_the_other(autojump_clock, world, alice):
    bob = Resident(world, BOB)
    for resident in (alice, bob):
        resident.joins("lab", description=resident.peer_id)
    async with running(alice, bob):
        await trio.sleep(SOON)
        for resident in (alice, bob):
            manifest = json.loads(world.blocks[world.pointer(resident.key("room-pointer", "lab")).cid])
            assert manifest["description"] == resident.peer_id
        assert len(world.providers[str(meeting_place("room-pointer", "lab"))]) == 2


async def test_when_it_was_first_published_is_remembered(autojump_clock, world):
    settings = MemorySettings()
    created = []
    for _ in range(2):
        resident = Resident(world, ALICE, settings)
        async with running(resident):
            await trio.sleep(SOON)
            profile = json.loads(world.blocks[world.pointer(resident.key("profile-pointer")).cid])
            created.append(profile["createdAt"])
        await trio.sleep(HOUR)
    assert created[0] == created[1]

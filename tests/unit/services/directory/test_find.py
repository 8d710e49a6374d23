"""What is found: verified, fetched, compared; and what is left out, with the reason."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio

from nexusd.host.ports import HostError
from nexusd.store.errors import StorageFullError
from nexusd_protocols.content.cid import JSON, RAW, Cid
from nexusd_protocols.identity import Signer
from nexusd_protocols.ids import RoomId
from nexusd_protocols.payments.advertised import Price
from nexusd_protocols.pointer.envelope import sign
from nexusd_protocols.pointer.keys import Key, meeting_place
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import (
    AgentFound,
    Capability,
    CapabilityFound,
    CapabilityList,
    FindAgentParams,
    FindCapabilityParams,
    FindRoomParams,
    Profile,
    RoomFound,
)
from tests.harness.directory import Resident, World
from tests.harness.people import ALICE, BOB, CAROL, MALLORY

HISTORY = Cid.of(RAW, b"history")
EVIL = "\x1b[31mevil\x1b[0m\nsecond line"


class Town:
    """Residents that have published, and carol, who asks."""

    def __init__(self, world: World, nursery: trio.Nursery) -> None:
        self.world = world
        self.nursery = nursery
        self.carol = Resident(world, CAROL)

    def resident(self, signer: Signer) -> Resident:
        resident = Resident(self.world, signer)
        self.nursery.start_soon(resident.directory.run)
        return resident

    async def agent(self, peer: str) -> AgentFound | Refusal:
        return await self.carol.directory.find_agent(FindAgentParams(peer=peer))

    async def room(self, room: str = "lab", limit: int = 20) -> RoomFound:
        found = await self.carol.directory.find_room(FindRoomParams(room=room, limit=limit))
        assert isinstance(found, RoomFound)
        return found

    async def capability(self, name: str = "upper", limit: int = 20) -> CapabilityFound:
        found = await self.carol.directory.find_capability(FindCapabilityParams(name=name, limit=limit))
        assert isinstance(found, CapabilityFound)
        return found


@pytest.fixture
async def town(nursery: trio.Nursery) -> Town:
    return Town(World(), nursery)


async def settled() -> None:
    await trio.sleep(15)


def person(number: int) -> Signer:
    return Signer(bytes([100 + number]) * 32)


def row(**changes: Any) -> Capability:
    return Capability(**{"name": "upper", "available": True, **changes})


# --- agents ---------------------------------------------------------------------------------------------------------


async def test_an_agent(autojump_clock, town):
    alice = town.resident(ALICE)
    alice.profile = Profile(agent=alice.peer_id, display_name=EVIL, description="hello", agent_type="tool")
    alice.serves("upper")
    town.world.addresses[alice.peer_id] = ("/ip4/8.8.8.8/tcp/4001",)
    await settled()
    found = await town.agent(alice.peer_id)
    assert (found.peer_id, found.connected, found.here, found.missing) == (alice.peer_id, False, False, "")
    assert found.addresses == [f"/ip4/8.8.8.8/tcp/4001/p2p/{alice.peer_id}"]
    profile = found.profile
    assert (profile.name, profile.description, profile.agent_type) == (EVIL, "hello", "tool"), "as it is: untrusted"
    assert (profile.capabilities, profile.role, profile.transports) == (["upper"], "full", alice.addresses)
    assert found.pointer.expires_at - found.pointer.issued_at == 24 * 3600 * 1000


async def test_an_agent_that_keeps_rooms_for_others(autojump_clock, town):
    alice = town.resident(ALICE)
    await settled()
    assert (await town.agent(alice.peer_id)).storage is None
    alice.joins("lab", mirror=True, retention="mirrored")
    await settled()
    found = await town.agent(alice.peer_id)
    assert found.profile is not None
    offered = found.storage
    assert [(each.room, each.retention) for each in offered.rooms] == [("lab", "mirrored")]
    assert (offered.total_bytes, offered.room_bytes, offered.references) == (500, 100, True)
    assert offered.pointer.expires_at - offered.pointer.issued_at == 3600 * 1000
    alice.leaves("lab")
    await settled()
    assert (await town.agent(alice.peer_id)).storage is None


async def test_an_agent_that_published_nothing_is_found_where_it_is(autojump_clock, town):
    town.world.addresses[ALICE.peer_id] = ("/ip4/8.8.8.8/tcp/4001",)
    town.carol.connected = [ALICE.peer_id]
    found = await town.agent(ALICE.peer_id)
    assert (found.connected, found.profile, found.missing) == (True, None, "nothing is published")


async def test_nobody_knows_the_agent(autojump_clock, town):
    refusal = await town.agent(ALICE.peer_id)
    assert refusal.code == "unknown_peer"
    assert "nothing is published, and no address is known" in refusal.message
    assert (await town.agent("x")).code == "invalid_peer"


async def test_ourselves(autojump_clock, town):
    town.nursery.start_soon(town.carol.directory.run)
    await settled()
    found = await town.agent(CAROL.peer_id)
    assert (found.here, found.connected, found.addresses) == (True, True, town.carol.addresses)
    assert found.profile is not None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"schema":"nexus:agent-profile:v1"}', "bad_document"),
        (b"\xff", "bad_json"),
        (None, "could not be fetched"),
    ],
)
async def test_a_profile_that_is_none(autojump_clock, town, data, reason):
    key, cid = Key("profile-pointer", ALICE.peer_id), Cid.of(JSON, data or b"?")
    town.world.records[str(key)] = sign(ALICE, key, cid, seq=1, now=town.world.now())
    if data is not None:
        town.world.blocks[cid] = data
    found = await town.agent(ALICE.peer_id)
    assert found.profile is None
    assert reason in found.missing
    assert found.pointer.cid == str(cid)


async def test_bytes_that_the_pointer_does_not_name_are_not_believed(autojump_clock, town):
    alice = town.resident(ALICE)
    await settled()
    cid = town.world.pointer(alice.key("profile-pointer")).cid
    town.world.blocks[cid] = town.world.blocks[cid].replace(b'"full"', b'"light"')
    assert "other bytes" in (await town.agent(alice.peer_id)).missing


async def test_mallory_points_to_alices_profile_and_is_not_alice(autojump_clock, town):
    alice = town.resident(ALICE)
    await settled()
    key = Key("profile-pointer", MALLORY.peer_id)
    cid = town.world.pointer(alice.key("profile-pointer")).cid
    town.world.records[str(key)] = sign(MALLORY, key, cid, seq=1, now=town.world.now())
    assert "foreign_document" in (await town.agent(MALLORY.peer_id)).missing


async def test_who_never_sends_the_document_is_not_waited_for(autojump_clock, town):
    alice = town.resident(ALICE)
    await settled()
    town.world.silent.add(alice.peer_id)
    began = trio.current_time()
    assert "in time" in (await town.agent(alice.peer_id)).missing
    assert trio.current_time() - began < 10


async def test_nobody_can_be_asked(autojump_clock, town):
    town.world.alone = True
    assert (await town.agent(ALICE.peer_id)).code == "unknown_peer"
    directory = town.carol.directory
    for refusal in (
        await directory.find_room(FindRoomParams(room="lab")),
        await directory.find_capability(FindCapabilityParams(name="upper")),
    ):
        assert refusal.code == "unreachable"
        assert "connect to one first" in refusal.message


async def test_the_dht_fails_in_the_middle(autojump_clock, town, monkeypatch):
    alice, bob = town.resident(ALICE), town.resident(BOB)
    for each in (alice, bob):
        each.joins("lab")
        each.serves("upper")
        each.directory.checkpointed(RoomId("lab"), HISTORY)
        town.world.offers(each.peer_id, row())
    await settled()
    whole = town.carol.names.get

    async def get(key: str, **options: Any) -> bytes | None:
        if "/checkpoint/" in key or key.endswith(bob.peer_id):
            raise HostError("everybody is gone")
        return await whole(key, **options)

    monkeypatch.setattr(town.carol.names, "get", get)
    (member,) = (await town.room()).members
    assert (member.peer_id, member.checkpoint) == (alice.peer_id, None)
    # who answers the question itself needs no pointer
    found = {each.peer_id: each.pointer is None for each in (await town.capability()).providers}
    assert found == {alice.peer_id: False, bob.peer_id: True}

    async def find_providers(cid: str, count: int = 20) -> list[Any]:
        raise HostError("everybody is gone")

    monkeypatch.setattr(town.carol.names, "find_providers", find_providers)
    for refusal in (
        await town.carol.directory.find_room(FindRoomParams(room="lab")),
        await town.carol.directory.find_capability(FindCapabilityParams(name="upper")),
    ):
        assert (refusal.code, refusal.message) == ("unreachable", "everybody is gone")


async def test_what_the_dht_gives_is_looked_at_again(autojump_clock, town, monkeypatch):
    async def get(key: str, **_: Any) -> bytes:
        return b"{}"

    monkeypatch.setattr(town.carol.names, "get", get)
    town.carol.connected = [ALICE.peer_id]
    found = await town.agent(ALICE.peer_id)
    assert found.pointer is None
    assert "bad_envelope" in found.missing


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "../x"])
async def test_names_that_are_none(autojump_clock, town, name):
    directory = town.carol.directory
    assert (await directory.find_room(FindRoomParams(room=name))).code == "invalid_name"
    assert (await directory.find_capability(FindCapabilityParams(name=name))).code == "invalid_name"


# --- rooms ----------------------------------------------------------------------------------------------------------


async def test_a_room(autojump_clock, town):
    alice, bob = town.resident(ALICE), town.resident(BOB)
    alice.joins("lab", description="our lab", members=2)
    bob.joins("lab", description=EVIL, retention="cache")
    alice.directory.checkpointed(RoomId("lab"), HISTORY)
    await settled()
    town.carol.connected = [bob.peer_id]
    found = await town.room()
    assert [member.peer_id for member in found.members] == [bob.peer_id, alice.peer_id], "the connected first"
    of_bob, of_alice = found.members
    assert (of_alice.description, of_alice.members, of_alice.retention) == ("our lab", 2, "retained")
    assert (of_bob.description, of_bob.retention, of_bob.checkpoint) == (EVIL, "cache", None)
    assert of_alice.checkpoint.cid == str(HISTORY)
    assert found.unproven == 0
    alice.leaves("lab")
    await settled()
    found = await town.room()
    assert [member.peer_id for member in found.members] == [bob.peer_id]
    assert found.unproven == 0, "who took it back proved that too"


async def test_a_room_of_which_nobody_has_heard(autojump_clock, town):
    assert await town.room() == RoomFound(room="lab", members=[])


async def test_a_room_that_we_are_in(autojump_clock, town):
    town.nursery.start_soon(town.carol.directory.run)
    town.carol.joins("lab")
    await settled()
    (member,) = (await town.room()).members
    assert (member.here, member.connected, member.peer_id) == (True, True, CAROL.peer_id)


async def test_who_only_says_that_he_is_there_has_proved_nothing(autojump_clock, town):
    alice = town.resident(ALICE)
    alice.joins("lab")
    await settled()
    there = town.world.providers[str(meeting_place("room-pointer", "lab"))]
    del there[alice.peer_id]
    there |= dict.fromkeys([*(person(number).peer_id for number in range(30)), alice.peer_id])
    found = await town.room()
    assert [member.peer_id for member in found.members] == [alice.peer_id], "a crowd of thirty hides nobody"
    assert found.unproven == 30


async def test_a_full_disk_takes_no_documents(autojump_clock, town, monkeypatch):
    alice = town.resident(ALICE)
    await settled()

    async def fetch(cid: Cid, peers: list[Any]) -> bytes:
        raise StorageFullError("The disk is full")

    monkeypatch.setattr(town.carol.directory._finder, "_fetch", fetch)
    assert "disk is full" in (await town.agent(alice.peer_id)).missing


async def test_a_member_whose_words_cannot_be_fetched_is_a_member(autojump_clock, town):
    alice = town.resident(ALICE)
    alice.joins("lab", description="our lab")
    await settled()
    town.world.blocks.clear()
    (member,) = (await town.room()).members
    assert (member.description, member.members) == ("", None)
    assert "could not be fetched" in member.missing


async def test_the_blocked_are_not_shown(autojump_clock, town):
    mallory = town.resident(MALLORY)
    mallory.joins("lab")
    mallory.serves("upper")
    town.world.offers(mallory.peer_id, row())
    await settled()
    assert (await town.room()).members
    assert (await town.capability()).providers
    town.carol.blocked.add(mallory.peer_id)
    assert (await town.room()).members == []
    assert (await town.capability()).providers == []


async def test_the_slow_hold_nobody_back(autojump_clock, town):
    people = [town.resident(person(number)) for number in range(20)]
    for each in people:
        each.joins("lab")
    await settled()
    town.world.silent |= {each.peer_id for each in people[:16]}
    began = trio.current_time()
    found = await town.room()
    assert trio.current_time() - began < 26
    assert len(found.members) == 20
    assert sum(not member.missing for member in found.members) == 4


# --- capabilities ---------------------------------------------------------------------------------------------------


async def test_a_capability(autojump_clock, town):
    alice = town.resident(ALICE)
    alice.serves("upper", description=EVIL, max_duration_ms=5000, max_concurrent=2)
    town.world.offers(alice.peer_id, row(description=EVIL, max_input_bytes=77, queue_ms=3, streaming=False))
    await settled()
    (found,) = (await town.capability()).providers
    assert (found.peer_id, found.confirmed, found.free, found.prices, found.pricing) == (
        alice.peer_id,
        True,
        True,
        [],
        "free",
    )
    assert (found.max_input_bytes, found.streaming, found.queue_ms) == (77, False, 3), "as it says now"
    assert (found.max_duration_ms, found.max_concurrent, found.rate_limit) == (5000, 2, "2 at once")
    assert (found.description, found.source) == (EVIL, "pointer")
    assert found.pointer.expires_at - found.pointer.issued_at == 3600 * 1000


async def test_best_first_and_who_is_left_out(autojump_clock, town):
    world = town.world
    costs = {"dear": "1000001", "cheap": "1000000", "strange": "5", "free": None, "unconfirmed": None}
    people = {name: town.resident(person(at)) for at, name in enumerate([*costs, "gone", "full", "other", "odd"])}
    for name, each in people.items():
        amount = costs.get(name)
        token = {"currency": "EURC" if name == "strange" else "USDC", "network": "base"}
        prices = () if amount is None else (Price(amount="9" * 9, **token), Price(amount=amount, **token))
        each.serves("upper", prices=prices)
        world.offers(each.peer_id, row(free=amount is None, queue_ms=5 if name == "free" else 0))
    quick = people["quick"] = town.resident(person(50))
    quick.serves("upper")
    world.offers(quick.peer_id, row())
    await settled()
    del world.answers[people["gone"].peer_id]
    world.offers(people["full"].peer_id, row(available=False))
    world.offers(people["other"].peer_id, row(name="lower"))
    world.answers[people["odd"].peer_id] = Refusal("refused", "its answer makes no sense")
    silent = CapabilityList(peer=people["unconfirmed"].peer_id, answered=False, capabilities=[])
    world.answers[silent.peer] = silent
    world.providers[str(meeting_place("capability-pointer", "upper"))][MALLORY.peer_id] = None
    world.answers[MALLORY.peer_id] = CapabilityList(peer=MALLORY.peer_id, answered=False, capabilities=[])
    found = await town.capability()
    by_id = {each.peer_id: name for name, each in people.items()}
    assert [by_id[each.peer_id] for each in found.providers] == [
        *("quick", "free", "cheap", "dear", "strange", "unconfirmed")
    ]
    assert [each.confirmed for each in found.providers] == [True] * 5 + [False]
    assert (found.unreachable, found.unavailable, found.unproven) == (1, 3, 1)
    assert [price.amount for price in found.providers[3].prices] == ["999.999999", "1.000001"]
    assert str(found.providers[4].prices[1]) == "5 smallest units of EURC on base", "no token that is known here"
    assert town.carol.directory.advertised(found.providers[3].peer_id, "upper")[1].amount == "1000001"
    few = await town.capability(limit=2)
    assert len(few.providers) <= 2


async def test_a_price_of_one_unit_is_not_compared_with_one_of_another(autojump_clock, town):
    costs = {("second", "2"): "quick", ("byte", "3"): "dear", ("", "9"): "whole", ("byte", "1"): "cheap"}
    by_id = {}
    for at, ((unit, each), name) in enumerate(costs.items()):
        seller = town.resident(person(at))
        by_id[seller.peer_id] = name
        price = Price(amount="9", currency="USDC", network="base", unit=unit, unit_price=each if unit else "0")
        seller.serves("upper", prices=(price,))
        town.world.offers(seller.peer_id, row())
    await settled()
    found = await town.capability()
    assert [by_id[each.peer_id] for each in found.providers] == ["whole", "cheap", "dear", "quick"]


async def test_who_answers_needs_no_document(autojump_clock, town):
    alice = town.resident(ALICE)
    alice.serves("upper")
    town.world.offers(alice.peer_id, row(description="loud"))
    await settled()
    town.world.blocks.clear()
    (found,) = (await town.capability()).providers
    assert (found.confirmed, found.description, found.max_duration_ms, found.free) == (True, "loud", None, True)


@pytest.mark.parametrize(("by_document", "by_answer"), [*itertools.product([True, False], repeat=2)])
async def test_what_only_one_of_two_words_calls_free_is_not_free(autojump_clock, town, by_document, by_answer):
    alice = town.resident(ALICE)
    alice.serves("upper", prices=() if by_document else (Price(amount="1", currency="USDC"),))
    town.world.offers(alice.peer_id, row(free=by_answer))
    await settled()
    (found,) = (await town.capability()).providers
    assert found.free == (by_document and by_answer)


async def test_published_peers_are_heard_in_rooms_and_never_confirmed(autojump_clock, town):
    town.world.heard["upper"] = [BOB.peer_id]
    town.world.answers[BOB.peer_id] = CapabilityList(peer=BOB.peer_id, answered=False, capabilities=[])
    (found,) = (await town.capability()).providers
    assert (found.confirmed, found.source, found.pointer, found.free) == (False, "presence", None, None)
    assert (found.max_input_bytes, found.streaming) == (None, None), "nobody said"


async def test_a_capability_that_is_served_no_more(autojump_clock, town):
    alice = town.resident(ALICE)
    alice.serves("upper")
    town.world.offers(alice.peer_id, row())
    await settled()
    alice.capabilities = []
    alice.directory.changed()
    await settled()
    assert await town.capability() == CapabilityFound(name="upper", providers=[])


async def test_our_own_capability(autojump_clock, town):
    town.nursery.start_soon(town.carol.directory.run)
    town.carol.serves("upper")
    town.world.offers(CAROL.peer_id, row())
    await settled()
    (found,) = (await town.capability()).providers
    assert (found.here, found.connected, found.confirmed) == (True, True, True)


async def test_who_never_answers_counts_as_unreachable(autojump_clock, town):
    alice, bob = town.resident(ALICE), town.resident(BOB)
    for each in (alice, bob):
        each.serves("upper")
        town.world.offers(each.peer_id, row())
    await settled()
    town.world.silent.add(bob.peer_id)
    found = await town.capability()
    assert [each.peer_id for each in found.providers] == [alice.peer_id]
    assert found.unreachable == 1

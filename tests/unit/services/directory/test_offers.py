from __future__ import annotations

from typing import Any

import pytest

from nexusd.services.directory import CapabilityFacts, RoomFacts, Sources, StorageFacts
from nexusd.services.directory.offers import CAPABILITIES, Offer, offers
from nexusd_protocols import limits
from nexusd_protocols.content.cid import JSON, RAW, Cid
from nexusd_protocols.ids import CapabilityName, RoomId
from nexusd_protocols.payments.advertised import Price
from nexusd_protocols.pointer.documents import (
    AgentProfile,
    CapabilityDocument,
    KeptRoom,
    Role,
    RoomManifest,
    StorageOffer,
    read,
)
from nexusd_protocols.pointer.keys import Key
from nexusd_protocols.rpc.schema import Profile
from tests.harness.people import ALICE

ME = ALICE.peer_id
LAB = RoomFacts(room=RoomId("lab"), since=5, description="our lab", retention="mirrored", members=3)
BOUNDS: dict[str, Any] = {"max_input_bytes": 1024, "max_duration_ms": 60_000, "max_concurrent": 4}
UPPER = CapabilityFacts(name=CapabilityName("upper"), description="loud", **BOUNDS)
ANYWHERE = f"/ip4/8.8.8.8/tcp/4001/p2p/{ME}"
RELAYED = f"/ip4/8.8.4.4/tcp/4001/p2p/{ME}/p2p-circuit/p2p/{ME}"
NEAR = f"/ip4/192.168.1.5/tcp/4001/p2p/{ME}"
HERE = f"/ip4/127.0.0.1/tcp/4001/p2p/{ME}"


def made(checkpoints=None, role: Role = "full", **changes: Any) -> dict[Key, Offer]:
    profile = Profile(agent=ME, display_name="Alice", description="hello", agent_type="tool")
    given: dict[str, Any] = {"profile": profile, "rooms": [], "capabilities": [], "addresses": [ANYWHERE], **changes}
    storage = StorageFacts(total=500, room=100, references=True)
    named = {name: (lambda value=value: value) for name, value in given.items()}
    sources = Sources(role=role, storage=storage, **named)
    return {offer.key: offer for offer in offers(ME, sources, checkpoints or {}, 7)}


def document(shape, offer: Offer, now: int = 9, previous: Cid | None = None):
    assert offer.make is not None
    block = offer.make(now, previous)
    assert block.cid == Cid.of(JSON, block.data)
    return read(shape, offer.key, block.data)


def test_a_profile():
    previous = Cid.of(RAW, b"before")
    offer = made(capabilities=[UPPER])[Key("profile-pointer", ME)]
    assert document(AgentProfile, offer, 9, previous) == AgentProfile(
        peer_id=ME,
        name="Alice",
        description="hello",
        type="tool",
        capabilities=("upper",),
        transports=(ANYWHERE,),
        created_at=7,
        updated_at=9,
        previous_version=str(previous),
    )


def test_a_room():
    manifest = document(RoomManifest, made(rooms=[LAB])[Key("room-pointer", ME, "lab")])
    assert (manifest.room_id, manifest.description, manifest.created_by, manifest.created_at) == (
        "lab",
        "our lab",
        ME,
        5,
    )
    assert (manifest.member_count, manifest.retention_defaults.recommended_class) == (3, "retained")


def test_who_is_in_a_room_makes_no_other_of_it():
    key = Key("room-pointer", ME, "lab")
    from dataclasses import replace

    more, renamed = replace(LAB, members=9), replace(LAB, description="theirs")
    assert made(rooms=[LAB])[key].facts == made(rooms=[more])[key].facts
    assert made(rooms=[LAB])[key].facts != made(rooms=[renamed])[key].facts


def kept(offers: dict[Key, Offer]) -> StorageOffer | None:
    offer = offers.get(Key("storage-offer", ME))
    return None if offer is None else document(StorageOffer, offer)


def test_whoever_mirrors_a_room_offers_storage():
    hall = RoomFacts(room=RoomId("hall"), since=6, retention="retained", mirror=True)
    assert kept(made(rooms=[LAB])) is None, "a member keeps for itself what it keeps"
    assert kept(made(rooms=[LAB, hall])) == StorageOffer(
        peer_id=ME,
        rooms=(KeptRoom(room_id="hall", retention_class="retained"),),
        total_bytes=500,
        room_bytes=100,
        references=True,
        updated_at=9,
    )


def test_whose_role_is_storage_offers_it_for_all_its_rooms():
    assert kept(made(role="storage")).rooms == ()
    many = [RoomFacts(room=RoomId(f"r{number:02}"), since=1) for number in range(100)]
    offered = kept(made(role="storage", rooms=many))
    assert [each.room_id for each in offered.rooms] == [each.room for each in many[: limits.OFFERED_ROOMS]]


ONE = Price(amount="100000", currency="USDC", network="base")
OTHER = Price(amount="5", currency="EURC", unit="chunk", unit_price="1")


@pytest.mark.parametrize(("prices", "pricing"), [((), "free"), ((ONE,), "0.1 USDC"), ((ONE, OTHER), "either")])
def test_a_capability(prices, pricing):
    facts = CapabilityFacts(
        name=CapabilityName("upper"), description="loud", prices=prices, pricing=pricing, streaming=False, **BOUNDS
    )
    made_of = document(CapabilityDocument, made(capabilities=[facts])[Key("capability-pointer", ME, "upper")])
    assert (made_of.asked, made_of.pricing, made_of.streaming, made_of.updated_at) == (prices, pricing, False, 9)
    assert made_of.price == (prices[0] if prices else None), "for readers that know of one"
    assert (made_of.limits.max_input_bytes, made_of.limits.max_duration_ms) == (1024, 60_000)
    assert (made_of.limits.max_concurrent, made_of.rate_limit) == (4, "4 at once")
    assert made_of.protocol == "/nexus/invoke/1.1.0"


def test_a_checkpoint_is_of_a_room_that_we_are_in():
    cid = Cid.of(RAW, b"history")
    found = made(rooms=[LAB], checkpoints={RoomId("lab"): cid, RoomId("left"): cid})
    assert found[Key("checkpoint-pointer", ME, "lab")].cid == cid
    assert [key for key in found if key.name == "left"] == []


@pytest.mark.parametrize(
    ("addresses", "told"),
    [
        ([HERE, NEAR, ANYWHERE, RELAYED], (ANYWHERE, RELAYED)),
        ([HERE, NEAR], (NEAR,)),
        ([HERE], (HERE,)),
        ([], ()),
        ([f"/dns4/{'x' * 250}/tcp/1/p2p/{ME}", ANYWHERE], (ANYWHERE,)),
        (["/ip4/0.0.0.0/tcp/1", "nonsense", "/ip4/224.0.0.1/udp/1"], ()),
        ([f"/ip4/8.8.8.8/tcp/{port}/p2p/{ME}" for port in range(1, 40)], None),
    ],
)
def test_strangers_hear_of_no_local_network_where_there_is_a_way_from_anywhere(addresses, told):
    transports = document(AgentProfile, made(addresses=addresses)[Key("profile-pointer", ME)]).transports
    assert transports == told if told is not None else len(transports) == limits.PROFILE_TRANSPORTS


def test_what_is_published_is_bounded():
    many = [CapabilityFacts(name=CapabilityName(f"c{n}"), **BOUNDS) for n in range(1000)]
    found = made(capabilities=many)
    assert sum(key.kind == "capability-pointer" for key in found) == CAPABILITIES
    assert len(document(AgentProfile, found[Key("profile-pointer", ME)]).capabilities) == limits.PROFILE_CAPABILITIES

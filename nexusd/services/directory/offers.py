"""What is to be published now: a key, and the document that its pointer shall lead to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from msgspec import UNSET
from msgspec.structs import replace as changed

from nexusd.host.dht.addresses import to_bytes
from nexusd.services.directory.ports import CapabilityFacts, RoomFacts, Sources
from nexusd_protocols import limits
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import JSON, Cid
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import RoomId
from nexusd_protocols.invoke.frames import PROTOCOL as INVOKE
from nexusd_protocols.kad.contact import Reach, reach
from nexusd_protocols.pointer.documents import (
    AgentProfile,
    CallLimits,
    CapabilityDocument,
    Document,
    KeptRoom,
    RetentionDefaults,
    RoomManifest,
    StorageOffer,
    write,
)
from nexusd_protocols.pointer.keys import Key
from nexusd_protocols.room.topics import room_topic

CAPABILITIES: Final = 256
"""Capabilities published: each costs forty messages an hour."""


@dataclass(frozen=True, slots=True)
class Offer:
    """`facts` decide whether something is new. `make` makes the document at a time, with the CID of the one before it;
    one that is not `lasting` is made anew whenever its pointer is renewed. For what is kept elsewhere there is `cid`
    instead."""

    key: Key
    facts: object
    make: Callable[[int, Cid | None], Block] | None = None
    lasting: bool = True
    cid: Cid | None = None


def offers(issuer: PeerId, sources: Sources, checkpoints: Mapping[RoomId, Cid], since: int) -> list[Offer]:
    """All that this node has to publish. `since` is when it first did (unix milliseconds)."""
    rooms = sources.rooms()
    capabilities = sources.capabilities()[:CAPABILITIES]
    return [
        _profile(issuer, sources, capabilities, since),
        *(_manifest(issuer, room) for room in rooms),
        *(_capability(issuer, capability) for capability in capabilities),
        *(
            Offer(Key("checkpoint-pointer", issuer, room.room), cid, cid=cid)
            for room in rooms
            if (cid := checkpoints.get(room.room)) is not None
        ),
        *_storage(issuer, sources, rooms),
    ]


def _profile(issuer: PeerId, sources: Sources, capabilities: Iterable[CapabilityFacts], since: int) -> Offer:
    said = sources.profile()
    profile = AgentProfile(
        peer_id=issuer,
        name=said.display_name,
        description=said.description,
        type=said.agent_type,
        capabilities=tuple(each.name for each in capabilities)[: limits.PROFILE_CAPABILITIES],
        role=sources.role,
        transports=_told(sources.addresses(), issuer),
        created_at=since,
        updated_at=since,
    )

    def make(now: int, previous: Cid | None) -> Block:
        return _block(changed(profile, updated_at=now, previous_version=previous and str(previous)))

    return Offer(Key("profile-pointer", issuer), profile, make)


def _manifest(issuer: PeerId, room: RoomFacts) -> Offer:
    manifest = RoomManifest(
        room_id=room.room,
        topic=room_topic(room.room),
        name=room.room,
        description=room.description[: limits.DESCRIPTION_CHARS],
        created_by=issuer,
        created_at=room.since,
        retention_defaults=RetentionDefaults.of(room.retention),
    )

    def make(_now: int, previous: Cid | None) -> Block:
        return _block(changed(manifest, member_count=room.members, previous_version=previous and str(previous)))

    return Offer(Key("room-pointer", issuer, room.room), replace(room, members=0), make, lasting=False)


def _capability(issuer: PeerId, facts: CapabilityFacts) -> Offer:
    document = CapabilityDocument(
        name=facts.name,
        protocol=INVOKE,
        description=facts.description,
        pricing=facts.pricing,
        rate_limit=f"{facts.max_concurrent} at once",
        peer_id=issuer,
        price=facts.prices[0] if facts.prices else None,
        prices=facts.prices or UNSET,
        limits=CallLimits(
            max_input_bytes=facts.max_input_bytes,
            max_duration_ms=facts.max_duration_ms,
            max_concurrent=facts.max_concurrent,
        ),
        streaming=facts.streaming,
        updated_at=0,
    )

    def make(now: int, _previous: Cid | None) -> Block:
        return _block(changed(document, updated_at=now))

    return Offer(Key("capability-pointer", issuer, facts.name), facts, make)


def _storage(issuer: PeerId, sources: Sources, rooms: Iterable[RoomFacts]) -> list[Offer]:
    """Whoever mirrors a room offers storage, and whoever has that for a role: then for all rooms that it is in. A
    member keeps what it keeps for itself."""
    whole = sources.role == "storage"
    kept = [KeptRoom(room_id=room.room, retention_class=room.retention) for room in rooms if room.mirror or whole]
    if not (kept or whole):
        return []
    document = StorageOffer(
        peer_id=issuer,
        rooms=tuple(kept[: limits.OFFERED_ROOMS]),
        total_bytes=sources.storage.total,
        room_bytes=sources.storage.room,
        references=sources.storage.references,
        updated_at=0,
    )

    def make(now: int, _previous: Cid | None) -> Block:
        return _block(changed(document, updated_at=now))

    return [Offer(Key("storage-offer", issuer), document, make)]


def _block(document: Document) -> Block:
    _, data = write(document)
    return Block.of(JSON, data)


def _told(addresses: Iterable[str], issuer: PeerId) -> tuple[str, ...]:
    """Those of the widest reach that there is: who may be dialled from anywhere tells strangers nothing of its local
    network, and loopback means nothing to others unless there is nothing else."""
    places = {address: reach(raw) for address in addresses for raw in to_bytes((address,), issuer)}
    widest = max((place for place in places.values() if place is not None), default=Reach.HERE)
    told = (address for address, place in places.items() if place == widest)
    # a name may be so long that nobody would take it
    return tuple(each for each in told if len(each) <= limits.KAD_ADDRESS_BYTES)[: limits.PROFILE_TRANSPORTS]

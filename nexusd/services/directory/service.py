"""What the doors ask of the directory."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

import trio

from nexusd.agents import Agents
from nexusd.host.ports import HostError
from nexusd.services.directory.finder import Finder, Published, of_each
from nexusd.services.directory.ports import Ask, Fetch, Keep, Names, Sources, Surroundings
from nexusd.services.directory.publisher import Publisher
from nexusd.services.directory.shopping import Shopping
from nexusd.services.ports import Resolve, WallClock
from nexusd.store import Store
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import RoomId, parse_capability_name, parse_room_id
from nexusd_protocols.payments.advertised import Price
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.pointer.documents import AgentProfile, DocumentT, RoomManifest, StorageOffer
from nexusd_protocols.pointer.keys import Key
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import (
    AgentFound,
    CapabilityFound,
    FindAgentParams,
    FindCapabilityParams,
    FindRoomParams,
    FoundMember,
    FoundPointer,
    FoundProfile,
    FoundRoom,
    FoundStorage,
    RoomFound,
)

MEET_S: Final = 3.0
"""For the first peer of the DHT to turn up."""

_ALONE: Final = Refusal("unreachable", "This node knows no peer that it could ask: connect to one first")


class Directory:
    """Publishes, and finds. `names` is the DHT, `keep` and `fetch` are the content store's, `ask` the handshake."""

    def __init__(
        self,
        *,
        agents: Agents,
        names: Names,
        store: Store,
        clock: WallClock,
        random: Random,
        resolve: Resolve,
        keep: Keep,
        fetch: Fetch,
        ask: Ask,
        sources: Sources,
        around: Surroundings,
        tokens: Tokens | None = None,
    ) -> None:
        self._own = PeerId(agents.first.id)
        self._names = names
        self._resolve = resolve
        self._sources = sources
        self._around = around
        self._publisher = Publisher(
            agent=agents.first, names=names, store=store, clock=clock, random=random, keep=keep, sources=sources
        )
        self._finder = Finder(names=names, fetch=fetch, clock=clock)
        self._shopping = Shopping(own=self._own, finder=self._finder, ask=ask, around=around, tokens=tokens or Tokens())

    # --- publishing -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Publish until cancelled, or until `say_goodbye`."""
        await self._publisher.run()

    def changed(self) -> None:
        """The profile, the rooms or the capabilities may have changed: others hear of it a moment later."""
        self._publisher.changed()

    def checkpointed(self, room: RoomId, cid: Cid) -> None:
        """There is a new checkpoint of a room's history, which others can fetch here."""
        self._publisher.checkpointed(room, cid)

    async def say_goodbye(self) -> None:
        """Publish no more, and take back what is of no use when nobody is here; within a second."""
        await self._publisher.say_goodbye()

    # --- requests ---------------------------------------------------------------------------------------------------

    async def find_agent(self, params: FindAgentParams) -> AgentFound | Refusal:
        """Who an agent is, and where it may be dialled."""
        peer = self._resolve(params.peer)
        if isinstance(peer, Refusal):
            return peer
        await self._met()
        published: Published[AgentProfile] = Published()
        offered: Published[StorageOffer] = Published()
        located = self._sources.addresses() if peer == self._own else self._around.addresses_of(peer)
        known = trio.Event()

        async def locate() -> None:
            nonlocal located
            if (found := await self._names.find_peer(peer)) is not None:
                located = (*found.addresses, *located)
            known.set()

        async def look_up() -> None:
            nonlocal published
            published = await self._behind(AgentProfile, Key("profile-pointer", peer), known)

        async def look_for_an_offer() -> None:
            nonlocal offered
            offered = await self._behind(StorageOffer, Key("storage-offer", peer), known)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(locate)
            nursery.start_soon(look_up)
            nursery.start_soon(look_for_an_offer)
        here = peer == self._own
        connected = here or peer in self._around.connected()
        if not (connected or located or published.pointer):
            return Refusal("unknown_peer", f"Nobody knows {peer}: {published.missing}, and no address is known")
        return AgentFound(
            peer_id=peer,
            connected=connected,
            here=here,
            addresses=list(dict.fromkeys(f"{each.removesuffix(f'/p2p/{peer}')}/p2p/{peer}" for each in located)),
            pointer=published.shown,
            profile=None if published.document is None else _profile(published.document),
            storage=_storage(offered),
            missing=published.missing,
        )

    async def _behind(self, shape: type[DocumentT], key: Key, known: trio.Event) -> Published[DocumentT]:
        """What an agent's pointer leads to. It is fetched once it is `known` where the agent is, who is the first to be
        asked for it."""
        try:
            found = await self._finder.pointer(key)
        except HostError as error:
            return Published(missing=str(error))
        if found.pointer is None:
            return Published(missing=found.missing)
        await known.wait()
        return await self._finder.document(shape, found.pointer, [])

    async def _met(self) -> bool:
        """Whether there is anybody to ask. A connection that was made a moment ago becomes one in a moment."""
        with trio.move_on_after(MEET_S):
            while not self._names.size():  # noqa: ASYNC110 - the table tells nobody that it grows
                await trio.sleep(MEET_S / 30)
        return self._names.size() > 0

    async def find_room(self, params: FindRoomParams) -> RoomFound | Refusal:
        """Who published that it is in a room, what it says of it, and which history it has."""
        try:
            room = parse_room_id(params.room)
        except ValueError as error:
            return Refusal("invalid_name", f"{params.room!r}: {error}")
        own = self._publisher.told(Key("room-pointer", self._own, room))
        if not await self._met() and not own:
            return _ALONE
        try:
            issuers = await self._finder.issuers("room-pointer", room)
        except HostError as error:
            return Refusal("unreachable", str(error))
        allowed = [issuer for issuer in issuers if self._around.allows(issuer)]
        if own:
            allowed.insert(0, self._own)

        async def look(issuer: PeerId) -> FoundMember | bool:
            return await self._member(room, issuer, allowed)

        found = (await of_each(allowed, look)).values()
        members = [member for member in found if isinstance(member, FoundMember)]
        members.sort(key=lambda member: (not member.connected, -member.pointer.issued_at, member.peer_id))
        return RoomFound(room=room, members=members[: params.limit], unproven=sum(each is False for each in found))

    async def _member(self, room: RoomId, issuer: PeerId, others: list[PeerId]) -> FoundMember | bool:
        """The member; or whether it took back that it is one (False: it proved nothing)."""
        published = await self._finder.look_up(RoomManifest, Key("room-pointer", issuer, room), others)
        if published.pointer is None:
            return published.withdrawn
        checkpoint = await self._checkpoint(room, issuer)
        said = published.document
        pointer = published.shown
        assert pointer is not None
        return FoundMember(
            peer_id=issuer,
            name=self._around.name_of(issuer),
            connected=issuer == self._own or issuer in self._around.connected(),
            here=issuer == self._own,
            pointer=pointer,
            room_name="" if said is None else said.name,
            description="" if said is None else said.description,
            members=None if said is None else said.member_count,
            created_at=None if said is None else said.created_at,
            retention="" if said is None else said.retention_defaults.recommended_class,
            checkpoint=checkpoint,
            missing=published.missing,
        )

    async def _checkpoint(self, room: RoomId, issuer: PeerId) -> FoundPointer | None:
        try:
            return (await self._finder.pointer(Key("checkpoint-pointer", issuer, room))).shown
        except HostError:
            return None

    def advertised(self, peer: PeerId, capability: str) -> Sequence[Price]:
        """The prices that a provider published, as far as they were looked up."""
        return self._shopping.advertised(peer, capability)

    async def find_capability(self, params: FindCapabilityParams) -> CapabilityFound | Refusal:
        """Who offers a capability, the best first."""
        try:
            name = parse_capability_name(params.name)
        except ValueError as error:
            return Refusal("invalid_name", f"{params.name!r}: {error}")
        own = self._publisher.told(Key("capability-pointer", self._own, name))
        if not await self._met() and not own:
            return _ALONE
        try:
            return await self._shopping.find(name, params.limit, own)
        except HostError as error:
            return Refusal("unreachable", str(error))


def _storage(offered: Published[StorageOffer]) -> FoundStorage | None:
    said, pointer = offered.document, offered.shown
    if said is None or pointer is None:
        return None
    return FoundStorage(
        rooms=[FoundRoom(room=each.room_id, retention=each.retention_class) for each in said.rooms],
        total_bytes=said.total_bytes,
        room_bytes=said.room_bytes,
        references=said.references,
        pointer=pointer,
    )


def _profile(profile: AgentProfile) -> FoundProfile:
    return FoundProfile(
        name=profile.name,
        description=profile.description,
        agent_type=profile.type,
        capabilities=list(profile.capabilities),
        role=profile.role,
        transports=list(profile.transports),
        created_at=profile.created_at,
        updated_at=profile.updated_at,
    )

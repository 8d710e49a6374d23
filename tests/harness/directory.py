"""Directories without a network: one DHT in memory that all ask, and one place where all keep their documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any

import trio

from nexusd.agents import Agents
from nexusd.host.dht import Found, PointerRecords
from nexusd.host.ports import HostError, NotFoundError
from nexusd.services.directory import CapabilityFacts, Directory, RoomFacts, Sources, StorageFacts
from nexusd.services.directory.ports import Surroundings
from nexusd.store.errors import StorageFullError
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import PeerId, Signer, parse_peer_id
from nexusd_protocols.ids import CapabilityName, RoomId
from nexusd_protocols.pointer.envelope import Pointer, read
from nexusd_protocols.pointer.keys import Key
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import Capability, CapabilityList, Profile

EPOCH_MS = 1_760_000_000_000


class MemorySettings:
    """The store's settings without a disk, so that time may jump. They outlive a directory."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.full = False

    async def get(self, key: str) -> str | None:
        await trio.lowlevel.checkpoint()
        return self.values.get(key)

    async def set(self, key: str, value: str) -> None:
        await trio.lowlevel.checkpoint()
        if self.full:
            raise StorageFullError("The disk is full")
        self.values[key] = value


class MemoryNames:
    """A DHT as one node sees it. All nodes of a world share `records` and `providers`."""

    def __init__(self, world: World, own: PeerId) -> None:
        self._world = world
        self._own = own
        self.puts: list[tuple[float, str]] = []

    def size(self) -> int:
        return 0 if self._world.alone else 1

    async def put(self, key: str, value: bytes) -> list[PeerId]:
        await trio.lowlevel.checkpoint()
        world = self._world
        world.schema.validate(key, value)
        held = world.record(key)
        if held is not None and held != value and world.schema.select(key, [held, value]) == 0:
            raise ValueError("A newer record is known")
        world.records[key] = value
        self.puts.append((trio.current_time(), key))
        return []

    async def get(self, key: str, *, quorum: int = 0) -> bytes | None:
        await trio.lowlevel.checkpoint()
        if self._world.alone:
            raise HostError("No peer of the DHT could be asked")
        return self._world.record(key)

    async def provide(self, cid: str) -> list[PeerId]:
        await trio.lowlevel.checkpoint()
        self._world.providers.setdefault(cid, {})[self._own] = None
        return []

    async def stop_providing(self, cid: str) -> bool:
        """Others remember for a while: the entry stays."""
        await trio.lowlevel.checkpoint()
        return True

    async def find_providers(self, cid: str, count: int = 20) -> list[Found]:
        await trio.lowlevel.checkpoint()
        found = [Found(peer, ()) for peer in self._world.providers.get(cid, {}) if peer != self._own]
        return found[:count]

    async def find_peer(self, peer: PeerId) -> Found | None:
        await trio.lowlevel.checkpoint()
        addresses = self._world.addresses.get(peer)
        return Found(peer, addresses) if addresses else None


@dataclass
class World:
    """What all share. `answers` are what peers say to the handshake; who is not in it cannot be reached."""

    records: dict[str, bytes] = field(default_factory=dict)
    providers: dict[str, dict[PeerId, None]] = field(default_factory=dict)
    addresses: dict[PeerId, tuple[str, ...]] = field(default_factory=dict)
    blocks: dict[Cid, bytes] = field(default_factory=dict)
    answers: dict[PeerId, CapabilityList | Refusal] = field(default_factory=dict)
    heard: dict[str, list[PeerId]] = field(default_factory=dict)
    silent: set[PeerId] = field(default_factory=set)
    """Who neither answers nor refuses."""
    alone: bool = False
    skew_ms: int = 0

    def __post_init__(self) -> None:
        self.schema = PointerRecords(self.now)

    def now(self) -> int:
        """A wall clock that follows the loop's."""
        return EPOCH_MS + round(trio.current_time() * 1000) + self.skew_ms

    def record(self, key: str) -> bytes | None:
        value = self.records.get(key)
        return value if value is not None and self.now() <= (self.schema.valid_until(key, value) or 0) else None

    def pointer(self, key: Key) -> Pointer | None:
        """What everybody sees under a key."""
        value = self.record(str(key))
        return None if value is None else read(str(key), value, self.now())

    async def keep(self, block: Block, _name: str) -> None:
        await trio.lowlevel.checkpoint()
        self.blocks[block.cid] = block.data

    async def fetch(self, cid: Cid, peers: Sequence[PeerId]) -> bytes:
        await trio.lowlevel.checkpoint()
        if peers[0] in self.silent:
            await trio.sleep_forever()
        if cid not in self.blocks:
            raise NotFoundError(f"Nobody has {cid}")
        return self.blocks[cid]

    async def ask(self, peer: PeerId) -> CapabilityList | Refusal:
        await trio.lowlevel.checkpoint()
        if peer in self.silent:
            await trio.sleep_forever()
        return self.answers.get(peer, Refusal("unreachable", "nobody answers"))

    def offers(self, peer: PeerId, *rows: Capability) -> None:
        """What a peer says to the handshake from now on."""
        self.answers[peer] = CapabilityList(peer=peer, answered=True, capabilities=list(rows))


class Resident:
    """One node's directory, and what the node is and has."""

    def __init__(self, world: World, signer: Signer, settings: MemorySettings | None = None) -> None:
        self.world = world
        self.peer_id = signer.peer_id
        self.settings = settings or MemorySettings()
        self.names = MemoryNames(world, signer.peer_id)
        self.profile = Profile(agent=signer.peer_id, display_name="", description="", agent_type="autonomous")
        self.rooms: list[RoomFacts] = []
        self.capabilities: list[CapabilityFacts] = []
        self.addresses = [f"/ip4/203.0.113.5/tcp/4001/p2p/{signer.peer_id}"]
        self.connected: list[PeerId] = []
        self.blocked: set[PeerId] = set()
        self.directory = Directory(
            agents=Agents(signer),
            names=self.names,
            store=SimpleNamespace(settings=self.settings),
            clock=world.now,
            random=Random(1),
            resolve=resolve,
            keep=world.keep,
            fetch=world.fetch,
            ask=world.ask,
            sources=Sources(
                role="full",
                storage=StorageFacts(total=500, room=100, references=True),
                profile=lambda: self.profile,
                rooms=lambda: self.rooms,
                capabilities=lambda: self.capabilities,
                addresses=lambda: self.addresses,
            ),
            around=Surroundings(
                connected=lambda: self.connected,
                addresses_of=lambda _peer: (),
                name_of=lambda _peer: None,
                allows=lambda peer: peer not in self.blocked,
                heard=lambda name: world.heard.get(name, []),
            ),
        )

    def key(self, kind: Any, name: str = "") -> Key:
        return Key(kind, self.peer_id, name)

    def joins(self, room: str, **facts: Any) -> None:
        self.rooms.append(RoomFacts(room=RoomId(room), since=EPOCH_MS, **facts))
        self.directory.changed()

    def leaves(self, room: str) -> None:
        self.rooms = [facts for facts in self.rooms if facts.room != room]
        self.directory.changed()

    def serves(self, name: str, **facts: Any) -> None:
        bounds = {"max_input_bytes": 1024, "max_duration_ms": 60_000, "max_concurrent": 4}
        self.capabilities.append(CapabilityFacts(name=CapabilityName(name), **{**bounds, **facts}))
        self.directory.changed()


def resolve(text: str) -> PeerId | Refusal:
    """Whole ids only."""
    try:
        return parse_peer_id(text)
    except ValueError:
        return Refusal("invalid_peer", f"{text!r} is not a peer id")

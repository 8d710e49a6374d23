"""Services in memory, for testing the doors: the same interface as the daemon's, with what a test wants to see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from nexusd.api.ports import Services
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.empty_services import ALICE, BOB, FakeContent, FakeDirectory, FakePayments, FakeWallet
from tests.harness.fakecalls import FakeCapabilities


@dataclass
class FakeNode:
    """`gate` holds `status` back while it is set and open is not."""

    socket: str = ""
    stopped: trio.Event = field(default_factory=trio.Event)
    gate: trio.Event | None = None
    running: int = 0
    most: int = 0
    padding: int = 0

    async def expose(self) -> schema.NodeMetrics:
        return schema.NodeMetrics(text="up 1\n")

    async def status(self) -> schema.NodeStatus:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.running -= 1
        return schema.NodeStatus(
            name="alice" + "x" * self.padding,
            peer_id=ALICE,
            agent=ALICE,
            version="0",
            role="full",
            addresses=[],
            pid=1,
            started_at=0,
            uptime_ms=0,
            data_dir="",
            socket=self.socket,
            peers_connected=0,
            peers_known=0,
            connections=schema.ConnectionUsage(open=1, limit=128, inbound=0, inbound_limit=96, in_transit=0, refused=0),
            rooms=[],
            capabilities=[],
            discovery={},
        )

    async def config(self) -> schema.ConfigShow:
        raise RuntimeError("a fault of the service")

    async def shutdown(self) -> schema.Done:
        self.stopped.set()
        return schema.Done()


class FakePeers:
    """One peer, who can be blocked."""

    def __init__(self) -> None:
        self.blocked: dict[str, str | None] = {}

    async def list(self, params: schema.PeersListParams) -> schema.PeersList:
        peer = schema.Peer(peer_id=BOB, connected=True, blocked=BOB in self.blocked)
        return schema.PeersList(peers=[peer])

    async def connect(self, params: schema.PeersConnectParams) -> schema.Peer | Refusal:
        return Refusal("unreachable", f"nobody answers at {params.address}")

    async def block(self, params: schema.PeersBlockParams) -> schema.Done | Refusal:
        if params.peer != BOB:
            return Refusal("ambiguous_peer", data=[ALICE, BOB])
        self.blocked[params.peer] = params.reason
        return schema.Done()

    async def unblock(self, params: schema.PeersUnblockParams) -> schema.Done:
        self.blocked.pop(params.peer, None)
        return schema.Done()


class FakeBans:
    """Who was banned, and for how long."""

    def __init__(self) -> None:
        self.banned: dict[str, int] = {}

    async def ban(self, params: schema.PeersBanParams) -> schema.Done:
        self.banned[params.peer] = params.duration_ms
        return schema.Done()

    async def unban(self, params: schema.PeersUnbanParams) -> schema.Done | Refusal:
        return schema.Done() if self.banned.pop(params.peer, None) else Refusal("refused", "not banned")


class FakeProfile:
    """A profile that keeps its name."""

    name = "alice"

    async def get(self, params: schema.ProfileGetParams) -> schema.Profile:
        return schema.Profile(agent=ALICE, display_name=self.name, description="", agent_type="autonomous")

    async def set(self, params: schema.ProfileSetParams) -> schema.Profile:
        self.name = params.display_name or self.name
        return await self.get(schema.ProfileGetParams())


@dataclass(frozen=True)
class FakeEvent:
    """A stored or live event."""

    kind: schema.EventKind
    type: str
    at: int
    data: Any
    cursor: int = 0
    room: str | None = None


class FakeEvents:
    """A log in memory."""

    def __init__(self) -> None:
        self.log: list[FakeEvent] = []
        self.listeners: set[trio.MemorySendChannel[FakeEvent]] = set()
        self.reads = 0
        self.page = 1 << 20
        """Rows that a page holds at most, as where they are large."""
        self._stored = trio.Event()

    def store(self, kind: schema.EventKind, data: Any, room: str | None = None) -> int:
        cursor = len(self.log) + 1
        self.log.append(FakeEvent(kind, "message", cursor, data, cursor, room))
        self._stored.set()
        self._stored = trio.Event()
        return cursor

    def emit(self, kind: schema.EventKind, data: Any) -> None:
        for listener in list(self.listeners):
            listener.send_nowait(FakeEvent(kind, "changed", 0, data))

    async def read(self, *, after: int, kinds: Any, room: str | None, peer: str | None, limit: int) -> list[FakeEvent]:
        await trio.lowlevel.checkpoint()
        self.reads += 1
        return [
            event
            for event in self.log[after:]
            if (kinds is None or event.kind in kinds) and (room is None or event.room == room)
        ][: min(limit, self.page)]

    async def wait_beyond(self, cursor: int) -> int:
        while len(self.log) <= cursor:
            await self._stored.wait()
        return len(self.log)

    def newest(self) -> int:
        return len(self.log)

    @asynccontextmanager
    async def subscribe_live(
        self, kinds: Any, room: str | None, peer: str | None
    ) -> AsyncIterator[trio.MemoryReceiveChannel[FakeEvent]]:
        send, receive = trio.open_memory_channel[FakeEvent](1024)
        self.listeners.add(send)
        try:
            yield receive
        finally:
            self.listeners.discard(send)
            send.close()
            receive.close()


class FakeRooms:
    """Rooms whose messages go into the log."""

    def __init__(self, events: FakeEvents) -> None:
        self._events = events

    async def create(self, params: schema.RoomCreateParams) -> schema.Room:
        return schema.Room(room=params.room, joined_at=1, messages=0, members_online=1, description=params.description)

    async def join(self, params: schema.RoomParams) -> schema.Room:
        return schema.Room(room=params.room, joined_at=1, messages=0, members_online=1)

    async def mirror(self, params: schema.RoomMirrorParams) -> schema.Room:
        return schema.Room(
            room=params.room,
            joined_at=1,
            messages=0,
            members_online=0,
            mirror=not params.off,
            retention=params.retention,
        )

    async def leave(self, params: schema.RoomParams) -> schema.Done | Refusal:
        return Refusal("not_joined", f"Not a member of {params.room}")

    async def list(self, params: schema.ProfileGetParams) -> schema.RoomsList:
        return schema.RoomsList(rooms=[])

    async def send(self, params: schema.RoomSendParams) -> schema.RoomSent:
        cursor = self._events.store("room", {"content": params.content}, params.room)
        return schema.RoomSent(message_id=str(cursor), cursor=cursor, peers=1)

    async def edit(self, params: schema.RoomEditParams) -> Refusal:
        return Refusal("message_unknown", f"No message {params.message_id} in {params.room}")

    async def retract(self, params: schema.RoomMessageParams) -> schema.RoomSent:
        return schema.RoomSent(message_id="retraction", cursor=1, peers=1)

    async def history(self, params: schema.RoomHistoryParams) -> schema.RoomHistory:
        return schema.RoomHistory(messages=[], more=False)

    async def search(self, params: schema.RoomSearchParams) -> schema.RoomHistory:
        return schema.RoomHistory(messages=[], more=False)

    async def versions(self, params: schema.RoomMessageParams) -> schema.RoomVersions:
        return schema.RoomVersions(versions=[])

    async def sync(self, params: schema.RoomParams) -> schema.RoomSynced:
        return schema.RoomSynced(peers=[], messages=0)

    async def verify(self, params: schema.RoomVerifyParams) -> schema.RoomVerified:
        """A room called `broken` has a fault."""
        faults = [schema.RoomFault(what="message", name="ab" * 32, reason="bad_signature")] * (params.room == "broken")
        return schema.RoomVerified(
            room=params.room,
            sound=not faults,
            agreed=True,
            messages=1,
            batches=0,
            days=0,
            head=None,
            fault_count=len(faults),
            faults=faults,
            peers=[],
            duration_ms=1,
        )

    async def members(self, params: schema.RoomParams) -> schema.RoomMembers:
        return schema.RoomMembers(members=[])

    async def stats(self, params: schema.RoomStatsParams) -> schema.RoomsStats:
        return schema.RoomsStats(rooms=[])


class FakeInbox:
    """Direct messages that are always stored."""

    async def send(self, params: schema.DmSendParams) -> schema.DmSent:
        return schema.DmSent(message_id="m", peer=params.peer, status="stored")

    async def list(self, params: schema.DmListParams) -> schema.DmList:
        return schema.DmList(messages=[], more=False)


@dataclass
class Fakes:
    """All of them, and the `Services` made of them."""

    node: FakeNode
    peers: FakePeers
    bans: FakeBans
    profile: FakeProfile
    events: FakeEvents
    rooms: FakeRooms
    inbox: FakeInbox
    capabilities: FakeCapabilities
    directory: FakeDirectory
    content: FakeContent

    @classmethod
    def make(cls, nursery: trio.Nursery, socket: Path, events: FakeEvents | None = None) -> Fakes:
        events = events or FakeEvents()
        return cls(
            FakeNode(str(socket)),
            FakePeers(),
            FakeBans(),
            FakeProfile(),
            events,
            FakeRooms(events),
            FakeInbox(),
            FakeCapabilities(nursery),
            FakeDirectory(),
            FakeContent(),
        )

    @property
    def services(self) -> Services:
        return Services(
            node=self.node,
            metrics=self.node,
            peers=self.peers,
            bans=self.bans,
            profile=self.profile,
            rooms=self.rooms,
            inbox=self.inbox,
            capabilities=self.capabilities,
            content=self.content,
            directory=self.directory,
            events=self.events,
            payments=FakePayments(),
            wallet=FakeWallet(),
        )

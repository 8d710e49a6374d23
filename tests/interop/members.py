"""Members of a room, of four kinds that a test treats alike: nodes of ours in this process, daemons, and nodes of
js-libp2p and go-libp2p.

What a member hears is the ids of the chat messages of others, as often as they came.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec
import trio

from nexusd.host.node import Node
from nexusd_protocols.identity import PeerId, Signer
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.daemon import Daemon
from tests.harness.foreign import ForeignPeer
from tests.harness.mallory import chat
from tests.harness.nodes import loopback_node, signer

PREFIX = "/nexus/room/"


class Member(Protocol):
    """Somebody in the room."""

    kind: str
    peer_id: str
    address: str
    heard: Counter[str]

    async def dial(self, address: str) -> None: ...

    async def join(self, room: str) -> None: ...

    async def say(self, room: str, name: str) -> str:
        """Publish a chat message; gives its id, which is `name` where the member lets us choose."""
        ...

    async def neighbours(self, room: str) -> set[str]:
        """Whom it sends to: its mesh, or what is closest to that."""
        ...

    async def listen(self) -> None:
        """Bring `heard` up to date."""
        ...

    async def scores(self) -> dict[str, float]:
        """What it thinks of others."""
        ...


class OwnNode:
    """A node in this process, for all that GossipSub does without a daemon's history sync."""

    def __init__(self, name: str, *, newest: str = "1.2") -> None:
        self.kind = "ours"
        self.node: Node = loopback_node(name)
        self.heard: Counter[str] = Counter()
        self.texts: list[bytes] = []
        self._signer: Signer = signer(name)
        self._seqno = 0
        if newest == "1.1":
            _forget_1_2(self.node)

    @property
    def peer_id(self) -> str:
        return self.node.peer_id

    @property
    def address(self) -> str:
        return self.node.addresses()[0]

    async def dial(self, address: str) -> None:
        await self.node.connect(PeerId(address.rpartition("/")[2]), [address])

    async def join(self, room: str) -> None:
        await self.node.topics.join(PREFIX + room, lambda _forwarder, _message: "accept", self._take)

    async def _take(self, _forwarder: PeerId, message: SignedMessage) -> None:
        self.texts.append(message.data)
        self.heard.update(_chat_ids([message.data]))

    async def say(self, room: str, name: str) -> str:
        topic = PREFIX + room
        self._seqno += 1
        data = chat(self.peer_id, topic, "hello", id=name)
        await self.node.topics.publish(SignedMessage.sign(self._signer, topic, data, self._seqno))
        return name

    async def neighbours(self, room: str) -> set[str]:
        return set(self.node.topics.router.mesh(PREFIX + room))

    async def listen(self) -> None:
        await trio.lowlevel.checkpoint()

    async def scores(self) -> dict[str, float]:
        return {score.peer: score.total for score in self.node.topics.router.scores()}


def _forget_1_2(node: Node) -> None:
    """Neither offer GossipSub 1.2 nor speak it to others."""
    newest = "/meshsub/1.2.0"
    del node._host.get_mux().handlers[newest]
    identified = node.topics.identified

    def older(peer: PeerId, protocols: Iterable[str]) -> None:
        identified(peer, [protocol for protocol in protocols if protocol != newest])

    node.topics.identified = older


class DaemonMember:
    """A daemon. It names its messages itself, and hears what its history has."""

    def __init__(self, daemon: Daemon) -> None:
        self.kind = "daemon"
        self.daemon = daemon
        self.peer_id = daemon.peer_id
        self.address = daemon.tcp
        self.heard: Counter[str] = Counter()
        self._room = ""

    async def _rpc(self, method: str, **params: Any) -> Any:
        return await trio.to_thread.run_sync(partial(self.daemon.rpc, method, **params))

    async def dial(self, address: str) -> None:
        await self._rpc("peers.connect", address=address)

    async def join(self, room: str) -> None:
        self._room = room
        await self._rpc("room.join", room=room)

    async def say(self, room: str, name: str) -> str:
        sent: str = (await self._rpc("room.send", room=room, content=name))["messageId"]
        return sent

    async def neighbours(self, room: str) -> set[str]:
        found = (await self._rpc("room.members", room=room))["members"]
        return {m["agent"] for m in found if m["agent"] != self.peer_id and m["status"] != "offline"}

    async def listen(self) -> None:
        # from the beginning each time: the room's order is by time, and what comes late stands before what came first
        heard: Counter[str] = Counter()
        more, after = True, 0
        while more:
            page = await self._rpc("room.history", room=self._room, after=after, limit=500)
            more, after = page["more"], page["last"] or after
            heard.update(row["messageId"] for row in page["messages"] if row["sender"] != self.peer_id)
        self.heard = heard

    async def scores(self) -> dict[str, float]:
        peers = (await self._rpc("peers.list", scores=True))["peers"]
        # None: connected, and not known to speak GossipSub yet
        return {peer["peerId"]: peer["score"]["total"] for peer in peers if peer["score"]["total"] is not None}


class ForeignNode:
    """One node of a process of js-libp2p or go-libp2p."""

    def __init__(self, peer: ForeignPeer, number: int) -> None:
        self.kind = peer.name
        self.peer = peer
        self.number = number
        self.peer_id: str = peer.nodes[number]["peerId"]
        self.address = next(a for a in peer.nodes[number]["addrs"] if "/ws" not in a)
        self.heard: Counter[str] = Counter()
        self._read = 0

    async def ask(self, cmd: str, **options: Any) -> dict[str, Any]:
        return await self.peer.ask(cmd, timeout=60, node=self.number, **options)

    async def dial(self, address: str) -> None:
        await self.ask("dial", address=address)

    async def join(self, room: str) -> None:
        await self.ask("join", topic=PREFIX + room)

    async def say(self, room: str, name: str) -> str:
        data = chat(self.peer_id, PREFIX + room, "hello", id=name)
        await self.ask("publishRaw", topic=PREFIX + room, base64=base64.b64encode(data).decode())
        return name

    async def neighbours(self, room: str) -> set[str]:
        return set((await self.ask("subscribers", topic=PREFIX + room))["mesh"])

    async def listen(self) -> None:
        until = self.peer.mark()
        events = self.peer.events[self._read : until]
        self._read = until
        mine = [e for e in events if e["event"] == "pubsub" and e.get("node", 0) == self.number]
        self.heard.update(_chat_ids(event["text"].encode() for event in mine))
        await trio.lowlevel.checkpoint()

    async def scores(self) -> dict[str, float]:
        return {peer: score["score"] for peer, score in ((await self.ask("scores"))["scores"] or {}).items()}


def _chat_ids(texts: Iterable[bytes]) -> list[str]:
    messages = [msgspec.json.decode(text) for text in texts]
    return [message["id"] for message in messages if message["type"] == "chat"]


async def all_heard(members: Sequence[Member], wanted: dict[str, str], seconds: float) -> None:
    """Until every member heard each of `wanted` (message id to author) that is not its own."""
    missing: dict[str, set[str]] = {}
    with trio.move_on_after(seconds):
        while True:
            missing = {}
            for member in members:
                await member.listen()
                lacks = {name for name, author in wanted.items() if author != member.peer_id and not member.heard[name]}
                if lacks:
                    missing[f"{member.kind} {member.peer_id}"] = lacks
            if not missing:
                return
            await trio.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {missing}")


async def meshed(members: Sequence[Member], room: str, least: int, seconds: float) -> None:
    """Until every member sends to at least so many others."""
    few: dict[str, int] = {}
    with trio.move_on_after(seconds):
        while True:
            counts = {f"{m.kind} {m.peer_id}": len(await m.neighbours(room)) for m in members}
            few = {name: count for name, count in counts.items() if count < least}
            if not few:
                return
            await trio.sleep(0.1)
    raise AssertionError(f"fewer than {least} neighbours after {seconds:g} s: {few}")

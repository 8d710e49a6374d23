"""Bad input for a disk of one megabyte that is full: each kind ends in a refusal by name and in bounded work, and
nothing that was acknowledged is lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psutil
import pytest
import trio
from libp2p.kad_dht.pb import kademlia_pb2
from libp2p.network.stream.exceptions import StreamError

from nexusd.client import Nexus, NexusError
from nexusd.host.node import Node
from nexusd_protocols import limits
from nexusd_protocols.chatsync.frames import PROTOCOL
from nexusd_protocols.chatsync.index import Item
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.cid import DAG_CBOR, RAW, Cid
from nexusd_protocols.history.batch import BatchRef, batches
from nexusd_protocols.history.bounds import HOUR_MS, hour_of
from nexusd_protocols.identity import PeerId
from nexusd_protocols.pointer import envelope
from nexusd_protocols.pointer.keys import Key
from nexusd_protocols.pubsub.framing import FrameBuffer
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.room.topics import room_topic
from tests.attack.received import ids
from tests.harness.daemon import Daemon, Home
from tests.harness.history import said
from tests.harness.liars import Give, Loose, Offer, giving, lie, naming, nothing, offering
from tests.harness.mallory import KAD, MESHSUB, Mallory, chat, framed, mallory, packed, rpc
from tests.harness.nodes import loopback_node, running, signer, until
from tests.harness.smalldisk import SmallDisk, small_disk
from tests.unit.protocols.content.cbor import REFUSED

ROOM = "lab"
NOW = time.time_ns() // 1_000_000
HOUR = hour_of(NOW - 3 * HOUR_MS)
CAROL = signer("carol")
DAY_MS = 86_400_000
MEBIBYTES = 32


@dataclass
class Victim:
    """The daemon, and what it acknowledged before its disk was full."""

    disk: SmallDisk
    nexus: Nexus
    peer: PeerId
    address: str
    acknowledged: set[str]

    @property
    def rss(self) -> int:
        assert self.disk.process is not None
        found: int = psutil.Process(self.disk.process.popen.pid).memory_info().rss
        return found

    def refusal(self, method: str, **params: object) -> str:
        """The code of a refusal, or '' where there was none."""
        try:
            self.nexus.call(method, params)
        except NexusError as error:
            return error.code
        return ""

    def log(self) -> str:
        return self.disk.log.read_text()


def fits(alice: Daemon, peer: str, size: int) -> bool:
    """Whether a message of that size is still stored."""
    with contextlib.suppress(NexusError):
        return bool(alice.rpc("dm.send", peer=peer, content="x" * size)["status"] == "stored")
    return False


@pytest.fixture(scope="module")
def victim(alice: Daemon) -> Iterator[Victim]:
    home = Home()
    try:
        with small_disk(home, "1m") as disk, disk.client() as nexus:
            status = nexus.call("node.status")
            address = next(each for each in status.addresses if "/ws" not in each)
            nexus.call("room.join", {"room": ROOM})
            alice.rpc("peers.connect", address=address)
            for size in (20_000, 2_000, 200):
                while fits(alice, status.peer_id, size):
                    pass
            acknowledged = set(ids(nexus))
            assert acknowledged
            yield Victim(disk, nexus, status.peer_id, address, acknowledged)
    finally:
        home.remove()


@pytest.fixture(autouse=True)
def nothing_is_lost(victim: Victim) -> Iterator[None]:
    """Before and afterwards the disk is full, all that was acknowledged is there, and memory is where it was."""
    before = victim.rss
    yield
    assert victim.disk.free() == 0
    assert set(ids(victim.nexus)) == victim.acknowledged
    assert victim.nexus.call("node.status").peer_id == victim.peer
    assert victim.rss - before < MEBIBYTES * limits.MIB
    assert "Traceback" not in victim.disk.log.read_text()


@dataclass
class Liar:
    """A member of the room that has blocks of any bytes under any names."""

    node: Node
    blocks: dict[Cid, bytes] = field(default_factory=dict)
    held: set[Cid] = field(default_factory=set)
    """Of these, those that are promised and never sent."""
    offer: Offer = field(default_factory=offering)
    give: Give = nothing

    @property
    def peer(self) -> PeerId:
        return self.node.peer_id

    async def size(self, cid: Cid, peer: PeerId) -> int | None:
        return len(self.blocks[cid]) if cid in self.blocks else None

    async def get(self, cid: Cid, peer: PeerId) -> bytes | None:
        if cid in self.held:
            await trio.sleep_forever()
        return self.blocks.get(cid)

    async def answer(self, channel: object) -> None:
        await lie(channel, self.offer, self.give)


@asynccontextmanager
async def liar(victim: Victim, name: str) -> AsyncIterator[Liar]:
    node = loopback_node(name)
    found = Liar(node)
    node.exchange.set_source(found)
    node.streams.handle(PROTOCOL, lambda _: Loose(), found.answer)

    async def deliver(_peer: PeerId, _message: SignedMessage) -> None:
        await trio.lowlevel.checkpoint()

    async with running(node):
        await node.topics.join(room_topic(ROOM), lambda _peer, _message: "accept", deliver)
        await node.connect(victim.peer, [victim.address.partition("/p2p/")[0]])
        await until(lambda: victim.peer in node.topics.peers(room_topic(ROOM)))
        yield found


# --- a room's history -------------------------------------------------------------------------------------------------
def in_hour(count: int, room: str = ROOM) -> list[bytes]:
    made = [said(CAROL, room, f"{number}", HOUR * HOUR_MS + number, number).encode() for number in range(count)]
    return sorted(made, key=lambda raw: SignedMessage.decode(raw).digest)


def forged(timestamp: int) -> SignedMessage:
    """What mallory signs, and carol never said."""
    good = said(CAROL, ROOM, "forged", timestamp, 7)
    return SignedMessage(good.sender, good.data, good.seqno, good.topic, signer("mallory").sign(b"anything"))


def handmade(**changes: object) -> tuple[BatchRef, bytes]:
    """A batch as nobody's code makes one."""
    fields = {
        "schema": "nexus:message-batch:v2", "room": ROOM, "hour": HOUR, "part": 0, "messages": in_hour(3), **changes
    }  # fmt: skip
    data = dag_cbor.encode(fields)  # type: ignore[arg-type]
    return BatchRef(HOUR, 0, Cid.of(DAG_CBOR, data), min(100, len(fields["messages"]))), data  # type: ignore[arg-type]


def with_one_forged() -> tuple[BatchRef, bytes]:
    raws = [*in_hour(9), forged(HOUR * HOUR_MS + 50).encode()]
    ((ref, block),) = batches(ROOM, HOUR, raws)  # type: ignore[arg-type]
    return ref, block.data


def another_block() -> tuple[BatchRef, bytes]:
    ref, _ = handmade()
    return ref, b"other bytes than those of its name"


DISK = "The disk is full"
BATCHES: dict[str, tuple[Callable[[], tuple[BatchRef, bytes]], str]] = {
    "good": (handmade, DISK),
    "with one forged message": (with_one_forged, DISK),  # the nine others are as good as any
    "of 101 messages": (lambda: handmade(messages=in_hour(101)), "too_many"),
    "of another room": (lambda: handmade(room="elsewhere"), "wrong_room"),
    "with a message of another room": (lambda: handmade(messages=in_hour(1, "elsewhere")), "wrong_room"),
    "of nothing that was signed": (lambda: handmade(messages=[b"garbage"]), "bad_object"),
    "that is another block": (another_block, "Nobody who was asked has"),
}


@pytest.mark.parametrize("batch", BATCHES)
async def test_a_batch(victim: Victim, batch: str) -> None:
    made, reason = BATCHES[batch]
    ref, data = made()
    async with liar(victim, f"mallory with a batch {batch}") as m:
        m.blocks[ref.cid] = data
        m.offer = naming(ref)
        assert reason in await compared(victim, m)
    assert victim.nexus.call("room.history", {"room": ROOM}).messages == []


SAID = said(CAROL, ROOM, "carol did say this", NOW, 5)
FORGED = forged(NOW)
OFFERED: dict[str, tuple[Offer, Give, str]] = {
    "good": (offering(Item(NOW, SAID.digest)), giving(SAID.encode()), DISK),
    "forged": (offering(Item(NOW, FORGED.digest)), giving(FORGED.encode()), "bad_signature"),
    "dated otherwise": (offering(Item(NOW - 1, SAID.digest)), giving(SAID.encode()), "wrong_place"),
    "without end, which do not exist": (
        offering(*(Item(NOW, number.to_bytes(32, "big")) for number in range(1500))), nothing, "empty_promises"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", OFFERED)
async def test_messages_that_a_member_offers(victim: Victim, kind: str) -> None:
    async with liar(victim, f"mallory with messages {kind}") as m:
        m.offer, m.give, reason = OFFERED[kind]
        assert reason in await compared(victim, m)
    assert victim.nexus.call("room.history", {"room": ROOM}).messages == []


async def test_messages_of_other_times(victim: Victim) -> None:
    """Said to all, as gossip. An honest one is not stored either, and comes again when there is room."""

    def stats() -> tuple[int, int]:
        (found,) = victim.nexus.call("room.stats", {"room": ROOM}).rooms
        return found.rejected, found.ignored

    rejected, ignored = stats()
    async with mallory(name="mallory of all times") as m:
        await m.dial_at(victim.address, victim.peer)
        line = await m.open_at(victim.peer, MESHSUB)
        for number, at in enumerate((0, 5, 4_102_444_800_000, NOW + DAY_MS)):
            data = chat(m.peer_id, room_topic(ROOM), f"{number}", timestamp=at)
            assert await line.write(rpc(packed(m.signed(room_topic(ROOM), data))))
        assert await line.write(rpc(packed(FORGED)))
        await until(lambda: stats() == (rejected + 1, ignored + 4))
        good = chat(m.peer_id, room_topic(ROOM), "good")
        assert await line.write(rpc(packed(m.signed(room_topic(ROOM), good))))
        await until(lambda: "room_messages_not_stored" in victim.log())
    assert victim.nexus.call("room.history", {"room": ROOM}).messages == []


# --- blocks -----------------------------------------------------------------------------------------------------------
async def test_dag_cbor_of_every_wrong_kind(victim: Victim) -> None:
    found: dict[str, str] = {}
    async with liar(victim, "mallory with DAG-CBOR") as m:
        for name, (wire, _) in REFUSED.items():
            cid = Cid.of(DAG_CBOR, wire)
            m.blocks[cid] = wire
            found[name] = await stat(victim, m, cid)
    # floats are for others, who may write them; what is larger than a block is nobody's
    allowed = {name for name, (_, code) in REFUSED.items() if code is None} | {"a float"}
    assert {name for name, code in found.items() if code == "storage_full"} == allowed
    assert {name for name, code in found.items() if code == "content_not_found"} == {"over 2 MiB"}
    assert {found[name] for name in REFUSED.keys() - allowed - {"over 2 MiB"}} == {"bad_content"}


async def test_blocks_that_are_others_and_blocks_that_never_come(victim: Victim) -> None:
    async with liar(victim, "mallory with blocks") as m:
        good, other, late = (Cid.of(RAW, name) for name in (b"good", b"other", b"late"))
        m.blocks |= {good: b"good", other: b"not what its name says", late: b"late"}
        m.held.add(late)
        assert await stat(victim, m, good) == "storage_full"
        assert await stat(victim, m, other) == "content_not_found"
        assert await stat(victim, m, late, 0.5) in ("timeout", "content_not_found")


# --- pointers ---------------------------------------------------------------------------------------------------------
async def test_pointers_that_are_not_believed(victim: Victim) -> None:
    own, cid = signer("mallory of pointers"), Cid.of(RAW, b"x")
    key = Key("profile-pointer", own.peer_id)
    carols = Key("profile-pointer", CAROL.peer_id)
    good = envelope.sign(own, key, cid, seq=5, now=NOW)
    older = envelope.sign(own, key, cid, seq=4, now=NOW)
    spoilt = {
        "forged": (key, good.replace(b'"seq":5', b'"seq":9')),
        "expired": (key, envelope.sign(own, key, cid, seq=9, now=NOW - 2 * DAY_MS)),
        "future": (key, envelope.sign(own, key, cid, seq=9, now=NOW + DAY_MS)),
        "of another's key": (carols, envelope.sign(own, key, cid, seq=9, now=NOW)),
        "of another kind": (Key("relay-offer", own.peer_id), good),
        "too long a life": (key, good.replace(b'"seq":5', b'"seq":9').replace(b'"expiresAt":1', b'"expiresAt":2')),
        "oversized": (key, good[:-1] + b" " * 1024 + b"}"),
        "no JSON": (key, b"\xff" * 100),
    }
    async with mallory(name="mallory of pointers") as m:
        await m.dial_at(victim.address, victim.peer)

        async def put(at: Key, value: bytes) -> bytes | None:
            """What is kept there now, in the answer; None where there is none."""
            record = kademlia_pb2.Record(key=str(at).encode(), value=value)
            answer = await ask(m, victim, type=KIND.PUT_VALUE, key=record.key, record=record)
            return answer and answer.record.value

        assert await put(key, good) == good
        assert {name: await put(at, value) for name, (at, value) in spoilt.items()} == dict.fromkeys(spoilt)
        assert await put(key, older) == good, "a downgrade"
        kept = await ask(m, victim, type=KIND.GET_VALUE, key=str(key).encode())
        assert kept is not None
        assert kept.record.value == good
        nobodys = await ask(m, victim, type=KIND.GET_VALUE, key=str(carols).encode())
        assert nobodys is not None
        assert not nobodys.HasField("record")


KIND = kademlia_pb2.Message


async def ask(m: Mallory, victim: Victim, **fields: object) -> kademlia_pb2.Message | None:
    """A question to the DHT, and its answer; None if the stream ends instead."""
    line = await m.open_at(victim.peer, KAD)
    assert await line.write(framed(kademlia_pb2.Message(**fields).SerializeToString()))
    frames = FrameBuffer()
    with trio.fail_after(10), contextlib.suppress(StreamError):
        while piece := await line.stream.read(65_536):
            for frame in frames.feed(piece):
                return kademlia_pb2.Message.FromString(frame)
    return None


async def compared(victim: Victim, m: Liar) -> str:
    """Why comparing the room with a member failed, once she is seen there."""
    while True:
        found = await trio.to_thread.run_sync(lambda: victim.nexus.call("room.sync", {"room": ROOM}).peers)
        told = [each.error or "" for each in found if each.peer == m.peer]
        if told:
            return told[0]
        await trio.sleep(0.02)


async def stat(victim: Victim, m: Liar, cid: Cid, seconds: float = 3.0) -> str:
    """The code of the refusal to say what a block is that only she has."""
    params = {"cid": str(cid), "peers": [m.peer], "waitMs": int(seconds * 1000)}
    return await trio.to_thread.run_sync(lambda: victim.refusal("content.stat", **params))

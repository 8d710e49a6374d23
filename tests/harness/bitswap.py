"""Blocks, sources and wires for tests of bitswap."""

from __future__ import annotations

import hashlib
import heapq
import itertools

import trio

from nexusd_protocols import limits
from nexusd_protocols.bitswap.client import Client
from nexusd_protocols.bitswap.events import (
    Arrived,
    Charge,
    Fetch,
    Fetched,
    Got,
    Heard,
    Joined,
    Left,
    Look,
    Missing,
    Need,
    Open,
    Send,
    Sent,
    SessionId,
    Sized,
    Tick,
)
from nexusd_protocols.bitswap.message import Kind, Message, Payload, Want
from nexusd_protocols.bitswap.server import Server
from nexusd_protocols.content.cid import RAW, Cid
from nexusd_protocols.identity import PeerId, Signer


def data_of(number: int, size: int = 32) -> bytes:
    """A block's bytes; no two numbers have the same."""
    seed = hashlib.sha256(b"%d" % number).digest()
    return (seed * (size // 32 + 1))[:size]


def cid_of(number: int, size: int = 32) -> Cid:
    """Its name."""
    return Cid.of(RAW, data_of(number, size))


def block(number: int, size: int = 32) -> Payload:
    return Payload(cid_of(number, size), data_of(number, size))


def wants(*cids: Cid, kind: Kind = Kind.BLOCK, **options) -> Message:
    """A message that wants these."""
    return Message(wants=tuple(Want(cid, kind, **options) for cid in cids))


class MemorySource:
    """Implements `ports.BlockSource`. `refused` are peers for which nothing is here."""

    def __init__(self, *blocks: Payload) -> None:
        self.blocks = {each.cid.digest: each.data for each in blocks}
        self.refused: set[PeerId] = set()
        self.reads = 0
        self.seconds = 0.0
        """What a read takes."""

    def add(self, *blocks: Payload) -> None:
        self.blocks.update((each.cid.digest, each.data) for each in blocks)

    async def size(self, cid: Cid, peer: PeerId) -> int | None:
        await trio.lowlevel.checkpoint()
        data = None if peer in self.refused else self.blocks.get(cid.digest)
        return None if data is None else len(data)

    async def get(self, cid: Cid, peer: PeerId) -> bytes | None:
        self.reads += 1
        await trio.sleep(self.seconds)
        return None if peer in self.refused else self.blocks.get(cid.digest)


class Hosted:
    """A server machine with a source, whose outputs are carried out at once. `sent` are the messages that a peer got;
    peers in `slow` take nothing until `take` is called."""

    def __init__(self, server: Server | None = None) -> None:
        self.server = server or Server()
        self.blocks: dict[bytes, bytes] = {}
        self.sent: dict[PeerId, list[Message]] = {}
        self.slow: set[PeerId] = set()
        self.reads: list[PeerId] = []
        self.now = 0.0
        self._untaken: set[PeerId] = set()

    def put(self, *blocks: Payload, tell: bool = False) -> None:
        self.blocks.update((each.cid.digest, each.data) for each in blocks)
        if tell:
            self.tell(Arrived(tuple(each.cid for each in blocks)))

    def hear(self, peer: PeerId, message: Message) -> list[Message]:
        """What the peer got since."""
        before = len(self.sent.get(peer, ()))
        self.tell(Heard(peer, message))
        return self.sent.get(peer, [])[before:]

    def take(self, peer: PeerId) -> None:
        """A slow peer takes one message."""
        self._untaken.remove(peer)
        self.tell(Sent(peer))

    def leave(self, peer: PeerId) -> None:
        self._untaken.discard(peer)
        self.tell(Left(peer))

    def tell(self, event) -> None:
        pending = [event]
        while pending:
            for output in self.server.handle(pending.pop(0), self.now):
                match output:
                    case Look(peer, cids):
                        sizes = (self.blocks.get(cid.digest) for cid in cids)
                        pending.append(Sized(peer, tuple(None if d is None else len(d) for d in sizes)))
                    case Fetch(peer, cids):
                        self.reads += [peer] * len(cids)
                        pending.append(Fetched(peer, tuple(self.blocks.get(cid.digest) for cid in cids)))
                    case Send(peer, message):
                        assert message.entries, "an empty message"
                        self.sent.setdefault(peer, []).append(message)
                        assert peer not in self._untaken, "two messages under way"
                        if peer in self.slow:
                            self._untaken.add(peer)
                        else:
                            pending.append(Sent(peer))


class Provider:
    """A peer of a `Fetcher`: has these blocks, and sends one after another, each after `gap` seconds. `mute`: it takes
    wants and says nothing; `boasts`: it says that it has everything."""

    def __init__(self, *numbers: int, gap: float = 0.01, mute: bool = False, boasts: bool = False, size: int = 32):
        self.blocks = {block(number, size).cid.digest: block(number, size) for number in numbers}
        self.gap = gap
        self.mute = mute
        self.boasts = boasts
        self.free_at = 0.0
        self.wanted: dict[bytes, Want] = {}
        self.asked: list[Cid] = []

    def hear(self, message: Message, now: float) -> list[tuple[float, Message]]:
        """What it answers, and when."""
        for cid in message.cancels:
            self.wanted.pop(cid.digest, None)
        answers = []
        for want in message.wants:
            self.wanted[want.cid.digest] = want
            if want.kind is Kind.BLOCK:
                self.asked.append(want.cid)
            answers += self._answer(want, now)
        return answers

    def _answer(self, want: Want, now: float) -> list[tuple[float, Message]]:
        held = self.blocks.get(want.cid.digest)
        if want.kind is Kind.HAVE and (held or self.boasts):
            return [(now + 0.001, Message(haves=(want.cid,)))]
        if self.mute or (self.boasts and not held):
            return []
        if held is None:
            return [(now + 0.001, Message(lacks=(want.cid,)))]
        self.free_at = max(self.free_at, now) + self.gap
        return [(self.free_at, Message(blocks=(held,)))]


class Fetcher:
    """A client machine with one session among providers, on a clock of its own; `got` and `missing` came of it."""

    SESSION = SessionId(1)

    def __init__(self, **providers: Provider) -> None:
        self.client = Client()
        self.providers = {self.peer(name): provider for name, provider in providers.items()}
        self.names = {self.peer(name): name for name in providers}
        self.now = 0.0
        self.got: dict[Cid, str] = {}
        self.missing: list[Cid] = []
        self.charges: list[tuple[str, str, int]] = []
        self.said: list[tuple[str, Message]] = []
        self._due: list[tuple[float, int, PeerId, Message]] = []
        self._count = itertools.count()
        for peer in self.providers:
            self.tell(Joined(peer))
        self.tell(Open(self.SESSION))

    def peer(self, name: str) -> PeerId:
        return Signer(hashlib.sha256(name.encode()).digest()).peer_id

    def need(self, *cids: Cid) -> None:
        for cid in cids:
            self.tell(Need(self.SESSION, cid))

    def tell(self, event) -> None:
        for output in self.client.handle(event, self.now):
            match output:
                case Send(peer, message):
                    assert message.entries or message.full, "an empty message"
                    self.said.append((self.names.get(peer, peer), message))
                    if peer in self.providers:
                        for due, answer in self.providers[peer].hear(message, self.now):
                            self.answer(peer, answer, due)
                case Got(_session, cid, data, peer):
                    assert cid.verifies(data)
                    assert cid not in self.got, "a block came twice"
                    self.got[cid] = self.names[peer]
                case Missing(_session, cid):
                    self.missing.append(cid)
                case Charge(peer, code, points):
                    self.charges.append((self.names[peer], code, points))

    def answer(self, peer: PeerId, message: Message, due: float) -> None:
        heapq.heappush(self._due, (due, next(self._count), peer, message))

    def leave(self, name: str) -> None:
        self.providers.pop(self.peer(name))
        self.tell(Left(self.peer(name)))

    def run(self, until: float = 600.0, count: int = 10**9) -> float:
        """Until there are so many blocks, or nothing more happens; gives the time."""
        while len(self.got) + len(self.missing) < count:
            late = self.client.deadline()
            if self._due and self._due[0][0] <= late:
                due, _, peer, message = heapq.heappop(self._due)
                event = Heard(peer, message)
                if peer not in self.providers:
                    continue
            elif late <= until:
                due, event = late, Tick()
            else:
                break
            self.now = max(self.now, due)
            self.tell(event)
        return self.now

    def fetch(self, cids: list[Cid], at_once: int = limits.BITSWAP_UNDER_WAY) -> float:
        """One after the other, so many at once; gives the time that it took."""
        began, waiting = self.now, list(cids)
        done = len(self.got) + len(self.missing)
        for finished in range(len(cids)):
            while waiting and len(cids) - len(waiting) < finished + at_once:
                self.need(waiting.pop(0))
            self.run(count=done + finished + 1)
        return self.now - began

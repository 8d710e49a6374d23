"""Three hosts that talk, bury, forget and synchronise in any order, over the machines and the bytes between them."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from nexusd_protocols import limits
from nexusd_protocols.chatsync import reconcile
from nexusd_protocols.chatsync.frames import Compare, Open, Opened, Put, Took, Want, deliveries, puts
from nexusd_protocols.chatsync.index import Item, Key, MemoryIndex
from nexusd_protocols.chatsync.ranges import MAX_KEY
from nexusd_protocols.chatsync.stream import Delivered, SyncInitiator, SyncResponder
from nexusd_protocols.history.bounds import HISTORY_EPOCH_MS, placement
from nexusd_protocols.ids import RoomId
from tests.harness.chatsync import NOW
from tests.harness.examples import examples

PEOPLE = ("alice", "bob", "carol")
DAY = 86_400_000


class Host:
    """A set of messages as a service keeps it: what is held, what is buried, and from when on."""

    def __init__(self) -> None:
        self.index = MemoryIndex()
        self.held: dict[bytes, bytes] = {}
        self.horizon = HISTORY_EPOCH_MS

    def take(self, raw: bytes) -> str:
        """Keep a message, whose text says when it was said; or why not."""
        timestamp = int(raw.split(b" ")[0])
        digest = hashlib.sha256(raw).digest()
        if refused := placement(timestamp, NOW, self.horizon):
            return refused
        if not self.index.add(timestamp, digest):
            return "known"
        self.held[digest] = raw
        return ""

    def bury(self, item: Item) -> None:
        self.index.bury(*item[:2])
        self.held.pop(item.digest, None)

    def forget(self, horizon: int) -> None:
        self.horizon = max(self.horizon, horizon)
        self.index.expire(self.horizon)
        kept = {item.digest for item in self.known()}
        self.held = {digest: raw for digest, raw in self.held.items() if digest in kept}

    def known(self) -> list[Item]:
        return self.index.items(Key(0, b""), MAX_KEY, 1 << 30)

    def answer(self, request: object) -> list:
        """What its service answers to a request."""
        match request:
            case Open():
                return [Opened(self.horizon, None, len(self.index))]
            case Compare(ranges=ranges):
                return [Compare(reconcile.answer(ranges, self.index))]
            case Want(digests=digests):
                return list(deliveries(digests, self.held))
            case Put(messages=messages):
                verdicts = {hashlib.sha256(raw).digest(): self.take(raw) for raw in messages}
                refused = tuple((digest, verdict) for digest, verdict in verdicts.items() if verdict)
                return [Took(len(verdicts) - len(refused), refused)]
            case _:
                raise AssertionError(request)


def session(mine: Host, theirs: Host, rng: Random) -> Generator[None, None, bool]:
    """One session, a frame at a time; whether it found anything."""
    near, far = SyncInitiator(), SyncResponder()

    def asked(command) -> Generator[None, None, list]:
        events = []
        for request in far.receive(near.send(command)):
            yield
            for frame in theirs.answer(request):
                events += near.receive(far.send(frame))
                yield
        return events

    (opened,) = yield from asked(Open(RoomId("lab"), mine.horizon))
    lower, upper = reconcile.common_range(NOW, mine.horizon, opened.horizon)
    initiator = reconcile.Initiator()
    numbers = [rng.getrandbits(64) for _ in range(3)]
    request = initiator.open(mine.index, lower, upper, reconcile.random_cuts(mine.index, lower, upper, numbers))
    needs: list[Item] = []
    haves: list[bytes] = []
    while request is not None:
        ((answer),) = yield from asked(Compare(request))
        step = initiator.handle(answer.ranges, mine.index)
        needs += step.needs
        haves += step.haves
        request = step.request
    for at in range(0, len(needs), limits.SYNC_WANTS):
        for event in (yield from asked(Want(tuple(item.digest for item in needs[at : at + limits.SYNC_WANTS])))):
            if isinstance(event, Delivered):
                for _, raw in event.messages:
                    mine.take(raw)
    for put in puts(mine.held[digest] for digest in haves if digest in mine.held):
        yield from asked(put)
    assert near.receive_eof() == far.receive_eof() == []
    return bool(needs or haves)


def drained(steps: Generator[None, None, bool]) -> bool:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return bool(end.value)


class Mesh(RuleBasedStateMachine):
    """Whatever happens, in the end everybody holds what anybody holds, but for what it has buried or forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.hosts = {name: Host() for name in PEOPLE}
        self.sessions: list[Generator[None, None, bool]] = []
        self.rng = Random(1)
        self.said = 0

    @rule(
        who=st.sampled_from(PEOPLE),
        ago=st.integers(-2, 3).map(lambda n: n * DAY) | st.integers(0, DAY),
        count=st.integers(1, 40),
    )
    def say(self, who, ago, count):
        for _ in range(count):
            self.said += 1
            self.hosts[who].take(b"%d message %d" % (NOW - ago, self.said))

    @precondition(lambda self: any(host.held for host in self.hosts.values()))
    @rule(who=st.sampled_from(PEOPLE), data=st.data())
    def bury(self, who, data):
        everything = sorted({item for host in self.hosts.values() for item in host.known()})
        self.hosts[who].bury(data.draw(st.sampled_from(everything)))

    @rule(who=st.sampled_from(PEOPLE), ago=st.integers(1, 3))
    def forget(self, who, ago):
        self.hosts[who].forget(NOW - ago * DAY)

    @rule(pair=st.permutations(PEOPLE))
    def begin(self, pair):
        self.sessions.append(session(self.hosts[pair[0]], self.hosts[pair[1]], self.rng))

    @precondition(lambda self: self.sessions)
    @rule(which=st.integers(0, 9), steps=st.integers(1, 5))
    def go_on(self, which, steps):
        running = self.sessions[which % len(self.sessions)]
        for _ in range(steps):
            try:
                next(running)
            except StopIteration:
                self.sessions.remove(running)
                return

    def teardown(self):
        for running in self.sessions:
            drained(running)
        alice, bob, carol = self.hosts.values()
        for mine, theirs in ((alice, bob), (bob, carol), (carol, alice), (alice, bob)):
            drained(session(mine, theirs, self.rng))
        everything = {digest: raw for host in self.hosts.values() for digest, raw in host.held.items()}
        for host in self.hosts.values():
            gone = {item.digest for item in host.known() if item.gone}
            expected = {
                digest
                for digest, raw in everything.items()
                if digest not in gone and int(raw.split(b" ")[0]) >= host.horizon
            }
            assert set(host.held) == expected
        # and then there is nothing left to tell, but for what somebody has buried and another never knew
        assert not drained(session(alice, bob, self.rng)) or any(
            item.gone for host in (alice, bob) for item in host.known()
        )


TestMesh = Mesh.TestCase
TestMesh.settings = settings(deadline=None, max_examples=examples(40), stateful_step_count=30)

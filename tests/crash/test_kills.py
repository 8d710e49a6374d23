"""kill -9 of a daemon that posts, takes content in and receives, again and again: what it acknowledged is there."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
import trio

from nexusd.client import Nexus, NexusError
from nexusd.client.content import put_stream, read
from nexusd.store import Store
from tests.harness.daemon import Daemon, Home, connect
from tests.harness.history import STORE_FILE
from tests.harness.process import poll
from tests.harness.soundness import faults

ROOM = "lab"
CYCLES = 6
SOAK_CYCLES = 200
AWAY = 5
"""Messages that the other member says while the daemon is down: it has them by comparing, or not at all."""
LOAD_S = (0.02, 0.7)
"""How long a daemon lives after it answers: it may still be comparing, or back at work."""
RECENT_MS = 60_000
"""What is shown may have been said that long before: each time only so much is looked at, and all of it at the end."""
GONE = ("connection_lost", "daemon_unreachable")


@dataclass(frozen=True)
class Told:
    """What a daemon said was done: posts by id, files by CID, and ids of messages that it showed."""

    posted: dict[str, str]
    put: dict[str, str]
    shown: set[str]

    def since(self, before: Told) -> Told:
        """What is new."""
        return Told(
            {key: said for key, said in self.posted.items() if key not in before.posted},
            {cid: digest for cid, digest in self.put.items() if cid not in before.put},
            self.shown - before.shown,
        )


class Load:
    """Threads that use a daemon until they are stopped, and what they were told was done. `up` is clear while it is
    down."""

    def __init__(self, victim: Daemon, other: Daemon, seed: int) -> None:
        self.posted: dict[str, str] = {}
        """Message ids and what was said."""
        self.elsewhere: dict[str, str] = {}
        """The same of the other daemon."""
        self.put: dict[str, str] = {}
        """CIDs, and the SHA-256 of the file."""
        self.shown: dict[int, str] = {}
        """Cursors of events, and the ids of messages that they showed."""
        self.errors: list[BaseException] = []
        self.up = threading.Event()
        self.up.set()
        self._victim, self._other = victim, other
        self._random = Random(seed)
        self._stopped = threading.Event()
        works = (self._post, self._put, self._watch, self._say_elsewhere)
        self._threads = [threading.Thread(target=self._run, args=(work,), daemon=True) for work in works]

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            self.up.set()
        self.check()
        with Nexus.connect(data_dir=self._victim.data_dir, timeout=40) as nexus:
            self.posted[nexus.rooms.send(ROOM, "the end").message_id] = "the end"  # for who watches
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), thread
        self.check()

    def check(self) -> None:
        assert not self.errors, self.errors

    def told(self) -> Told:
        """By the one that is killed."""
        return Told(self.posted.copy(), self.put.copy(), set(self.shown.copy().values()))

    def wait_shown(self, some: set[str]) -> None:
        """Until one of these messages is shown."""
        poll(
            lambda: self.errors or not some.isdisjoint(self.shown.copy().values()),
            "what was said meanwhile",
            every=0.005,
        )

    def say_elsewhere(self, nexus: Nexus, content: str) -> str:
        message_id: str = nexus.rooms.send(ROOM, content).message_id
        self.elsewhere[message_id] = content
        return message_id

    def _run(self, work: Callable[[Nexus, int], None]) -> None:
        number = 0
        try:
            while not self._stopped.is_set():
                daemon = self._other if work == self._say_elsewhere else self._victim
                try:
                    with Nexus.connect(data_dir=daemon.data_dir, timeout=40) as nexus:
                        while not self._stopped.is_set():
                            number += 1
                            work(nexus, number)
                except NexusError as error:
                    if error.code not in GONE or daemon is self._other:
                        raise
                    assert self.up.wait(60), "the daemon did not come back"
        except BaseException as error:
            self.errors.append(error)

    def _post(self, nexus: Nexus, number: int) -> None:
        content = f"post {number}"
        self.posted[nexus.rooms.send(ROOM, content).message_id] = content

    def _put(self, nexus: Nexus, number: int) -> None:
        data = self._random.randbytes(self._random.randrange(1000, 600_000))
        self.put[put_stream(nexus, io.BytesIO(data), name=f"file {number}").cid] = hashlib.sha256(data).hexdigest()

    def _watch(self, nexus: Nexus, _: int) -> None:
        with nexus.events(cursor=max(self.shown, default=0), kinds=["room"], room=ROOM, patience=60) as events:
            for event in events:
                if event.type == "message":
                    assert event.cursor is not None
                    assert event.cursor not in self.shown, "an event was numbered twice"
                    self.shown[event.cursor] = event.data["messageId"]
                if self._stopped.is_set():
                    return

    def _say_elsewhere(self, nexus: Nexus, number: int) -> None:
        self.say_elsewhere(nexus, f"elsewhere {number}")
        self._stopped.wait(0.05)


def history(nexus: Nexus, since: int = 0) -> dict[str, str]:
    """What is shown of the room from a time on (unix milliseconds); nothing is there twice."""
    found: dict[str, str] = {}
    after = 0
    while True:
        page = nexus.call("room.history", {"room": ROOM, "after": after, "since": since, "limit": 500})
        for message in page.messages:
            assert message.message_id not in found, "it is there twice"
            found[message.message_id] = message.content
        if not page.more:
            return found
        after = page.messages[-1].position


def check_kept(nexus: Nexus, told: Told, since: int = 0) -> None:
    """What was acknowledged is there."""
    here = history(nexus, since)
    assert {key: here.get(key) for key in told.posted} == told.posted, "posts are lost"
    assert told.shown <= here.keys(), "what was shown is lost"
    for cid in told.put:
        assert nexus.call("content.stat", {"cid": cid}).complete, f"{cid} is lost"


def kill_again_and_again(home: Home, cycles: int, seed: int) -> None:
    choose = Random(seed)
    with Daemon("bob", home, "--log-level", "warning") as bob, Daemon("alice", home, "--log-level", "warning") as alice:
        connect(alice, bob)
        for daemon in (bob, alice):
            daemon.cli("room", "join", ROOM)
        load = Load(alice, bob, seed)
        slowest, caught_up = 0.0, 0
        with Nexus.connect(data_dir=bob.data_dir, timeout=40) as elsewhere, load.running():
            said_away: set[str] = set()
            for cycle in range(cycles):
                before, since = load.told(), int(time.time() * 1000) - RECENT_MS
                if cycle % 2:
                    # while it is comparing, or has just done so
                    load.wait_shown(said_away)
                    caught_up += 1
                    time.sleep(choose.uniform(0, 0.05))
                else:
                    time.sleep(choose.uniform(*LOAD_S))
                load.check()
                load.up.clear()
                alice.kill9()
                told = load.told().since(before)
                said_away = {load.say_elsewhere(elsewhere, f"away {cycle} {number}") for number in range(AWAY)}
                if choose.randrange(4) == 0:
                    alice.kill9_while_starting(choose.uniform(0.05, 1.0))
                began = time.monotonic()
                alice.start()
                slowest = max(slowest, time.monotonic() - began)
                load.up.set()
                with Nexus.connect(data_dir=alice.data_dir, timeout=40) as nexus:
                    nexus.peers.connect(bob.tcp)
                    check_kept(nexus, told, since)
        check_end(load, alice, bob)
        print(
            f"{cycles} kills, {caught_up} of them just after comparing: {len(load.posted) + len(load.elsewhere)} posts,"
            f" {len(load.put)} files, {len(load.shown)} messages shown; ready again in {slowest:.1f} s at most"
        )
    for daemon in (alice, bob):
        assert trio.run(damage, daemon.data_dir) == []


def check_end(load: Load, alice: Daemon, bob: Daemon) -> None:
    """Both hold everything, can prove it, and content is what it was."""
    with Nexus.connect(data_dir=alice.data_dir, timeout=40) as nexus:

        def equal() -> bool:
            found = nexus.call("room.verify", {"room": ROOM})
            assert found.sound, found.faults
            return bool(found.agreed and found.peers)

        poll(equal, "both hold the same", timeout=60, every=0.5)
        told = load.told()
        everything = load.posted | load.elsewhere
        check_kept(nexus, Told(everything, told.put, told.shown))
        for cid, digest in load.put.items():
            assert hashlib.sha256(b"".join(read(nexus, cid))).hexdigest() == digest, f"{cid} is damaged"
        assert nexus.call("storage.show").damaged == []
    with Nexus.connect(data_dir=bob.data_dir, timeout=40) as nexus:
        assert nexus.call("room.verify", {"room": ROOM}).sound
        check_kept(nexus, Told(everything, {}, told.shown))


async def damage(data_dir: Path) -> list[str]:
    async with Store.open(data_dir / STORE_FILE) as store:
        return await faults(store)


@pytest.fixture
def own_home() -> Iterator[Home]:
    place = Home()
    yield place
    place.remove()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_acknowledged_is_lost_however_often_it_is_killed(own_home: Home) -> None:
    kill_again_and_again(own_home, CYCLES, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_nor_in_two_hundred_kills(own_home: Home) -> None:
    kill_again_and_again(own_home, SOAK_CYCLES, seed=2)

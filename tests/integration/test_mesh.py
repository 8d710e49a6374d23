"""Ten daemons in one room, some of which come and go while all talk."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from contextlib import ExitStack

import pytest

from tests.harness.daemon import Daemon, Home
from tests.harness.process import poll

DAEMONS = 10
STEADY = 7
"""Connected throughout; the others are stopped, killed and started meanwhile."""
LINKS = 4
ROUNDS = 6
ROOM = "churn"
SECONDS = 30.0


def link(daemon: Daemon, others: list[Daemon], choose: random.Random) -> None:
    for other in choose.sample(others, min(LINKS, len(others))):
        daemon.rpc("peers.connect", address=other.tcp)


def said(daemon: Daemon) -> Counter[str]:
    """The log of the room: ids of its messages, as often as they are there."""
    found: Counter[str] = Counter()
    after, more = 0, True
    while more:
        page = daemon.rpc("room.history", room=ROOM, after=after, limit=500)
        found.update(row["messageId"] for row in page["messages"])
        more, after = page["more"], page["last"] or after
    return found


def send(daemon: Daemon, content: str) -> str:
    sent: str = daemon.rpc("room.send", room=ROOM, content=content)["messageId"]
    return sent


def still_missing(daemon: Daemon, wanted: dict[str, str]) -> list[str]:
    """What has not come in time."""
    missing: list[str] = []

    def complete() -> bool:
        there = said(daemon)
        missing[:] = [whose for name, whose in wanted.items() if name not in there]
        return not missing

    with contextlib.suppress(AssertionError):
        poll(complete, "everything", SECONDS, 0.2)
    return missing


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_daemons_lose_nothing_while_some_come_and_go(own_home: Home) -> None:
    """Those who stay have each message of one another once, and what those said who stopped in order. What was said
    while somebody was away is the business of history sync, not of this test."""
    seed = 1
    print("seed", seed)
    choose = random.Random(seed)
    with ExitStack() as stack:
        daemons = [stack.enter_context(Daemon(f"d{number}", own_home)) for number in range(DAEMONS)]
        for index, daemon in enumerate(daemons):
            link(daemon, daemons[:index], choose)
        for daemon in daemons:
            daemon.rpc("room.join", room=ROOM)
        for daemon in daemons:
            poll(
                lambda d=daemon: len(d.rpc("room.members", room=ROOM)["members"]) == DAEMONS, "all known", SECONDS, 0.2
            )
        steady, restless = daemons[:STEADY], daemons[STEADY:]
        wanted: dict[str, str] = {}
        for number in range(ROUNDS):
            goes = restless[number % len(restless)]
            there = [daemon for daemon in daemons if daemon is not goes]
            if number % 2:
                goes.kill9()
            else:
                # an orderly end says first what was accepted; who is killed may have stored more than it said
                wanted[send(goes, "goodbye")] = f"{goes.name} before it stopped in round {number}"
                goes.stop()
            for _ in range(3):
                wanted |= {send(daemon, "meanwhile"): f"{daemon.name} in round {number}" for daemon in steady}
            goes.start()
            link(goes, steady, choose)
            for daemon in there:
                spoken = send(daemon, "welcome back")
                if daemon in steady:
                    wanted[spoken] = f"{daemon.name} at the end of round {number}"
        for daemon in steady:
            missing = still_missing(daemon, wanted)
            assert not missing, f"{daemon.name} of {len(wanted)}: {missing}"
        for daemon in daemons:
            assert set(said(daemon).values()) == {1}

"""With whom a room is compared, and when."""

from __future__ import annotations

from random import Random

import pytest

from nexusd.services.rooms.schedule import (
    AT_ONCE,
    COME_MS,
    LONGEST_RETRY_MS,
    NEWS_MS,
    SPREAD,
    STEADY_MS,
    YIELD_MS,
    Begin,
    Finished,
    Input,
    PeerCame,
    PeerLeft,
    Schedule,
    Served,
    Tick,
)
from nexusd_protocols.identity import PeerId

OWN = PeerId("m")
LOWER, HIGHER = PeerId("a"), PeerId("z")


def schedule() -> Schedule:
    return Schedule(OWN, Random(1), 0)


def run(machine: Schedule, until: int, since: int = 0) -> list[tuple[int, PeerId]]:
    """Ticks as they are asked for; what was begun, and when."""
    begun = []
    now = since
    while (now := max(now, machine.next_tick())) <= until:
        begun += [(now, begin.peer) for begin in machine.handle(Tick(), now)]
        now += 1
    return begun


def tell(machine: Schedule, now: int, *events: Input) -> list[Begin]:
    return [begin for event in events for begin in machine.handle(event, now)]


def test_who_came_is_compared_with_at_once_by_the_lower_id() -> None:
    machine = schedule()
    tell(machine, 0, PeerCame(HIGHER))
    ((at, peer),) = run(machine, 5000)
    assert peer == HIGHER
    assert COME_MS[0] <= at <= COME_MS[1]


def test_the_higher_id_waits_and_is_spared_what_was_done_meanwhile() -> None:
    machine = schedule()
    tell(machine, 0, PeerCame(LOWER))
    assert [YIELD_MS[0] <= at <= YIELD_MS[1] for at, _ in run(machine, 5000)] == [True]
    machine = schedule()
    tell(machine, 0, PeerCame(LOWER))
    tell(machine, 500, Served(LOWER, news=False))
    assert run(machine, 5000, 500) == []


def test_news_goes_on_to_some_others() -> None:
    machine = schedule()
    others = [PeerId(f"n{number}") for number in range(10)]
    for peer in (HIGHER, *others):
        tell(machine, 0, PeerCame(peer), Served(peer, news=False))
    tell(machine, 100, Served(HIGHER, news=True))
    begun = []
    for now in range(100, 2000):
        for begin in machine.handle(Tick(), now):
            begun.append((now, begin.peer))
            machine.handle(Finished(begin.peer, "equal"), now)
    assert [peer for _, peer in begun].count(HIGHER) == 1, "who brought it may have more"
    assert len({peer for _, peer in begun} & set(others)) == len(begun) - 1 == SPREAD
    assert all(100 + NEWS_MS[0] <= at <= 100 + NEWS_MS[1] for at, _ in begun)


def test_more_is_fetched_from_the_same_at_once() -> None:
    machine = schedule()
    tell(machine, 0, PeerCame(HIGHER))
    run(machine, 300)
    assert tell(machine, 400, Finished(HIGHER, "more")) == [Begin(HIGHER)]


def test_somebody_is_asked_every_minute_for_ever() -> None:
    machine = schedule()
    for peer in (LOWER, HIGHER):
        tell(machine, 0, PeerCame(peer), Served(peer, news=False))
    hour = 0
    for now in range(0, 3_600_000, 500):
        for begin in machine.handle(Tick(), now):
            hour += 1
            machine.handle(Finished(begin.peer, "equal"), now)
    assert 3_600_000 / (STEADY_MS * 1.25) - 1 <= hour <= 3_600_000 / (STEADY_MS * 0.75) + 1


def test_failures_make_pauses_longer_and_a_success_ends_them() -> None:
    machine = schedule()
    tell(machine, 0, PeerCame(HIGHER))
    gaps = []
    now = 0
    for _ in range(12):
        ((at, _),) = run(machine, now + 2 * LONGEST_RETRY_MS, now)[:1]
        gaps.append(at - now)
        now = at
        tell(machine, now, Finished(HIGHER, "failed"))
    assert gaps[1] <= 1500
    assert 0.5 * LONGEST_RETRY_MS <= gaps[-1] <= 1.5 * LONGEST_RETRY_MS
    run(machine, now + 2 * LONGEST_RETRY_MS, now)
    tell(machine, now, Finished(HIGHER, "equal"), Finished(HIGHER, "failed"))
    assert machine.next_tick() <= now + 1500


def test_who_does_not_speak_it_is_left_alone_until_it_comes_again() -> None:
    machine = schedule()
    tell(machine, 0, PeerCame(HIGHER))
    run(machine, 300)
    tell(machine, 300, Finished(HIGHER, "unsupported"))
    assert run(machine, 10 * STEADY_MS, 300) == []
    now = 10 * STEADY_MS
    tell(machine, now, PeerLeft(HIGHER), PeerCame(HIGHER))
    assert [peer for _, peer in run(machine, now + 1000, now)] == [HIGHER]


def test_few_at_once() -> None:
    machine = schedule()
    peers = [PeerId(f"z{number}") for number in range(10)]
    for peer in peers:
        tell(machine, 0, PeerCame(peer))
    begun = run(machine, 5000)
    assert len(begun) == AT_ONCE
    assert len(tell(machine, 5000, Finished(begun[0][1], "equal"))) == 1


@pytest.mark.parametrize("outcome", ["equal", "news", "more", "failed", "unsupported"])
def test_who_left_while_it_was_compared_with_is_gone(outcome: str) -> None:
    machine = schedule()
    tell(machine, 0, PeerCame(HIGHER))
    run(machine, 300)
    tell(machine, 300, PeerLeft(HIGHER), Finished(HIGHER, outcome))  # type: ignore[arg-type]
    assert run(machine, 10 * STEADY_MS, 300) == []

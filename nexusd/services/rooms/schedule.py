"""With whom a room is compared, and when. A machine: times, chance and what happens are its inputs.

    PeerCame | PeerLeft | Finished | Served | Tick -> Schedule.handle -> Begin

A member that came is compared with at once, and by the one of the two whose id is lower: the other waits a little and
is then mostly spared it. What a comparison brought is news to others, so some of them are next. And one member, chosen
by chance, is asked about once a minute for ever: whatever went wrong before is found then.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from nexusd_protocols.identity import PeerId

COME_MS: Final = (0, 300)
"""After a member came: not all of a room in the same moment."""
YIELD_MS: Final = (1000, 2000)
"""The same for the member with the higher id."""
NEWS_MS: Final = (200, 1000)
SPREAD: Final = 3
"""Members who are asked after news: with each of them doing the same, a room of a thousand hears in six rounds."""
STEADY_MS: Final = 60_000
JITTER: Final = (0.75, 1.25)
FIRST_RETRY_MS: Final = 1000
LONGEST_RETRY_MS: Final = 60_000
AT_ONCE: Final = 2
"""Comparisons of one room under way: one that is stuck holds up nothing."""

Outcome = Literal["equal", "news", "more", "failed", "unsupported"]
"""How a comparison ended: nothing differed; something was exchanged; the same, and more is left; it failed; the member
does not speak the protocol."""


@dataclass(frozen=True, slots=True)
class PeerCame:
    """A member is connected and subscribed."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """It is not any more."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class Finished:
    """A comparison that was begun is over."""

    peer: PeerId
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Served:
    """A member compared with us, and that is over."""

    peer: PeerId
    news: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


Input = PeerCame | PeerLeft | Finished | Served | Tick


@dataclass(frozen=True, slots=True)
class Begin:
    """Compare with this member now."""

    peer: PeerId


@dataclass(slots=True)
class _Member:
    due: int | None = None
    running: bool = False
    failures: int = 0
    speaks: bool = True


class Schedule:
    """Of one room. Times are milliseconds of a clock that does not go back."""

    def __init__(self, own: PeerId, random: Random, now: int) -> None:
        self._own = own
        self._random = random
        self._members: dict[PeerId, _Member] = {}
        self._steady_at = self._later(now)

    def handle(self, event: Input, now: int) -> list[Begin]:
        """What follows."""
        match event:
            case PeerCame(peer):
                if peer not in self._members:
                    wait = COME_MS if self._own < peer else YIELD_MS
                    self._members[peer] = _Member(due=now + self._random.randint(*wait))
            case PeerLeft(peer):
                self._members.pop(peer, None)
            case Finished(peer, outcome):
                self._finished(peer, outcome, now)
            case Served(peer, news):
                self._served(peer, news, now)
            case Tick():
                pass
        return self._begin(now)

    def next_tick(self) -> int:
        """When `Tick` has something to do next."""
        dues = [member.due for member in self._members.values() if member.due is not None and not member.running]
        if sum(member.running for member in self._members.values()) >= AT_ONCE:
            return self._steady_at
        return min([self._steady_at, *dues])

    def _finished(self, peer: PeerId, outcome: Outcome, now: int) -> None:
        member = self._members.get(peer)
        if member is not None:
            member.running = False
            member.failures = member.failures + 1 if outcome == "failed" else 0
            if outcome == "failed":
                pause = min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** min(member.failures - 1, 10))
                member.due = now + round(pause * self._random.uniform(0.5, 1.5))
            elif outcome == "more":
                member.due = now
            elif outcome == "unsupported":
                member.speaks = False
        if outcome in ("news", "more"):
            self._spread(peer, now)

    def _served(self, peer: PeerId, news: bool, now: int) -> None:
        if (member := self._members.get(peer)) is not None and not member.failures:
            # it gave us what it found, which need not be all: then we look ourselves
            member.due = now + self._random.randint(*NEWS_MS) if news else None
        if news:
            self._spread(peer, now)

    def _spread(self, source: PeerId, now: int) -> None:
        others = [m for peer, m in self._members.items() if peer != source and m.speaks and not m.failures]
        for member in self._random.sample(others, min(SPREAD, len(others))):
            at = now + self._random.randint(*NEWS_MS)
            member.due = at if member.due is None else min(member.due, at)

    def _begin(self, now: int) -> list[Begin]:
        if now >= self._steady_at:
            self._steady_at = self._later(now)
            idle = [m for m in self._members.values() if m.speaks and m.due is None and not m.running]
            if idle:
                self._random.choice(idle).due = now
        begun = []
        room = AT_ONCE - sum(member.running for member in self._members.values())
        due = sorted((m.due, peer) for peer, m in self._members.items() if m.due is not None and not m.running)
        for at, peer in due[: max(0, room)]:
            if at <= now:
                member = self._members[peer]
                member.due, member.running = None, True
                begun.append(Begin(peer))
        return begun

    def _later(self, now: int) -> int:
        return now + round(STEADY_MS * self._random.uniform(*JITTER))

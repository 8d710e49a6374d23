"""Rooms kept equal to those of other members: when they come, after news, and at a low rate for ever.

who is subscribed -> Schedule -> Exchange -> what it came to -> Schedule
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final

import structlog
import trio

from nexusd.host.ports import HostError, Topics, UnsupportedError
from nexusd.services.rooms.exchange import Exchange, Exchanged
from nexusd.services.rooms.joined import Joined
from nexusd.services.rooms.schedule import Finished, Input, Outcome, PeerCame, PeerLeft, Schedule, Served, Tick
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId

log = structlog.get_logger(__name__)

LOOK_S: Final = 0.5
"""How often it is looked at who is there."""
AT_ONCE: Final = 4
"""Comparisons under way that this node began."""
ASKED_AT_ONCE: Final = 8
"""Members who are asked for a person who wants to be sure."""
UNSUPPORTED: Final = "it does not speak this protocol"


@dataclass(slots=True)
class _Followed:
    joined: Joined
    schedule: Schedule
    there: frozenset[PeerId] = frozenset()
    happened: list[Input] = field(default_factory=list)
    """Since it was looked at."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What one comparison came to, or why there was none."""

    peer: PeerId
    found: Exchanged | None
    error: str = ""


class Sync:
    """Of all rooms."""

    def __init__(
        self,
        *,
        own: PeerId,
        topics: Topics,
        exchange: Exchange,
        random: Random,
        rooms: Callable[[], Sequence[Joined]],
        news: Callable[[], None],
    ) -> None:
        """`news` is told when much came, which may be of hours that were closed."""
        self._own = own
        self._topics = topics
        self._exchange = exchange
        self._random = random
        self._rooms = rooms
        self._news = news
        self._slots = trio.Semaphore(AT_ONCE)
        self._followed: dict[Joined, _Followed] = {}
        self._wake = trio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                wait_s = self._look(nursery)
                with trio.move_on_after(wait_s):
                    await self._wake.wait()
                self._wake = trio.Event()

    def hurry(self) -> None:
        """A room was entered: look now."""
        self._wake.set()

    def served(self, joined: Joined, peer: PeerId, news: bool) -> None:
        """A member compared with us."""
        self._tell(joined, Served(peer, news))
        if news:
            self._news()

    async def ask(
        self,
        joined: Joined,
        most: int = ASKED_AT_ONCE,
        *,
        rounds: int = 2,
        seal: Callable[[], Awaitable[object]] | None = None,
    ) -> list[Compared]:
        """Compare with members now, chosen by chance, beside what is done anyway; `rounds` and `seal` as in
        `Exchange.run`."""
        there = list(self._topics.peers(joined.topic))
        chosen = self._random.sample(there, min(most, len(there)))
        results: list[Compared] = []

        async def compare(peer: PeerId) -> None:
            results.append(await self._compare(joined, peer, rounds, seal))

        async with trio.open_nursery() as nursery:
            for peer in chosen:
                nursery.start_soon(compare, peer)
        if any(result.found and (result.found.received or result.found.sent) for result in results):
            self._news()
        return sorted(results, key=lambda result: result.peer)

    async def fetch(self, joined: Joined, peer: PeerId, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """What a member has of these messages, by digest; nothing if it does not answer."""
        try:
            return await self._exchange.fetch(joined, peer, digests)
        except (HostError, RemoteProtocolError) as error:
            log.debug("room_messages_not_had", room=joined.room, peer=peer, error=str(error))
            return {}

    # --- inside -----------------------------------------------------------------------------------------------------
    def _look(self, nursery: trio.Nursery) -> float:
        """Begin what is due. Returns after how many seconds something may be again."""
        now = self._now()
        rooms = self._rooms()
        for gone in self._followed.keys() - set(rooms):
            del self._followed[gone]
        next_ms = now + round(LOOK_S * 1000)
        for joined in rooms:
            followed = self._followed.get(joined)
            if followed is None:
                followed = self._followed[joined] = _Followed(joined, Schedule(self._own, self._random, now))
            there = frozenset(self._topics.peers(joined.topic))
            changes: list[Input] = followed.happened + [PeerLeft(peer) for peer in sorted(followed.there - there)]
            changes += [PeerCame(peer) for peer in sorted(there - followed.there)]
            followed.there, followed.happened = there, []
            for change in (*changes, Tick()):
                for begin in followed.schedule.handle(change, now):
                    nursery.start_soon(partial(self._begin, joined, begin.peer))
            next_ms = min(next_ms, followed.schedule.next_tick())
        return max(1, next_ms - now) / 1000

    async def _begin(self, joined: Joined, peer: PeerId) -> None:
        outcome: Outcome = "failed"
        try:
            async with self._slots:
                compared = await self._compare(joined, peer)
            outcome = _outcome(compared)
            if compared.found is not None and compared.found.received:
                self._news()
        finally:
            self._tell(joined, Finished(peer, outcome))

    async def _compare(
        self, joined: Joined, peer: PeerId, rounds: int = 1, seal: Callable[[], Awaitable[object]] | None = None
    ) -> Compared:
        with trio.CancelScope() as scope:
            joined.comparing.add(scope)
            try:
                found = await self._exchange.run(joined, peer, rounds=rounds, seal=seal)
            except UnsupportedError:
                return Compared(peer, None, UNSUPPORTED)
            except (HostError, RemoteProtocolError, OSError) as error:
                log.debug("room_sync_failed", room=joined.room, peer=peer, error=str(error))
                return Compared(peer, None, str(error))
            finally:
                joined.comparing.discard(scope)
            if found.received or found.sent:
                log.info("room_synced", room=joined.room, peer=peer, received=found.received, sent=found.sent)
            return Compared(peer, found)
        return Compared(peer, None, "the room was left")

    def _tell(self, joined: Joined, event: Input) -> None:
        if (followed := self._followed.get(joined)) is not None:
            followed.happened.append(event)
            self._wake.set()

    @staticmethod
    def _now() -> int:
        return round(trio.current_time() * 1000)


def _outcome(compared: Compared) -> Outcome:
    if compared.found is None:
        return "unsupported" if compared.error == UNSUPPORTED else "failed"
    if not compared.found.complete:
        # whoever says that there is more, and gives nothing, is asked again at the pace of one who does not answer
        return "more" if compared.found.received else "failed"
    return "news" if compared.found.received or compared.found.sent else "equal"

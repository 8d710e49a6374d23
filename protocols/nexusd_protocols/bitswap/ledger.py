"""What one peer wants of us, within bounds: the most urgent first, and what is not here remembered for a while."""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.bitswap.message import Kind, Message, Want
from nexusd_protocols.content.cid import Cid

LACKING_SECONDS: Final = 600.0
"""A block that comes later is no news: js-bitswap never cancels, and has long had it from somebody else."""


@dataclass(slots=True)
class Wanted:
    """One want. `live` is false once it was answered or cancelled."""

    cid: Cid
    kind: Kind
    priority: int
    answer: bool
    number: int
    since: float
    live: bool = True


class Ledger:
    """One peer's."""

    def __init__(self) -> None:
        self._wants: dict[bytes, Wanted] = {}
        self._lacking: OrderedDict[bytes, Wanted] = OrderedDict()
        self._queue: list[tuple[int, int, Wanted]] = []
        self._numbers = 0
        self._refused: deque[bytes] = deque()

    def __len__(self) -> int:
        """Wants held, with those that wait for a block to come."""
        return len(self._wants) + len(self._lacking)

    @property
    def waiting(self) -> bool:
        """Is there something to look up, or to say?"""
        self._settle()
        return bool(self._queue or self._refused)

    def update(self, message: Message, most: int, now: float) -> None:
        """Take the wants and cancels of a message. A want beyond `most` displaces one that waits for a block to come;
        where there is none it is answered as not here, so that the peer asks somebody else."""
        if message.full:
            self._replace(message)
        for cid in message.cancels:
            self._cancel(cid.digest)
        for want in message.wants:
            self._want(want, most, now)
        for raw in message.foreign:
            self._refuse(raw)

    def arrived(self, cid: Cid, now: float) -> bool:
        """The block is here now. Was it waited for?"""
        wanted = self._lacking.pop(cid.digest, None)
        if wanted is None or now - wanted.since > LACKING_SECONDS:
            return False
        self._wants[cid.digest] = wanted
        self._push(wanted)
        return True

    def take(self, count: int) -> list[Wanted]:
        """The most urgent wants. They stay wanted until `done`, `lack`, or `back`."""
        taken: list[Wanted] = []
        while len(taken) < count:
            self._settle()
            if not self._queue:
                break
            taken.append(heapq.heappop(self._queue)[2])
        return taken

    def refused(self, count: int) -> tuple[bytes, ...]:
        """Binary CIDs to be answered as not here, without a look."""
        return tuple(self._refused.popleft() for _ in range(min(count, len(self._refused))))

    def done(self, wanted: Wanted) -> None:
        """It was answered."""
        self._end(wanted)

    def back(self, wanted: Wanted) -> None:
        """It was taken, and has to wait for the next turn."""
        if wanted.live:
            self._push(wanted)

    def lack(self, wanted: Wanted, now: float) -> None:
        """It is not here: remember it in case that it comes."""
        if not wanted.live:
            return
        self._wants.pop(wanted.cid.digest, None)
        wanted.since = now
        self._lacking[wanted.cid.digest] = wanted
        if len(self._lacking) > limits.BITSWAP_PEER_LACKING:
            self._lacking.popitem(last=False)[1].live = False

    def _replace(self, message: Message) -> None:
        """What the new list does not name is wanted no more."""
        kept = {want.cid.digest for want in message.wants}
        for digest in [digest for digest in (*self._wants, *self._lacking) if digest not in kept]:
            self._cancel(digest)

    def _cancel(self, digest: bytes) -> None:
        for held in (self._wants, self._lacking):
            wanted = held.pop(digest, None)
            if wanted is not None:
                wanted.live = False

    def _want(self, want: Want, most: int, now: float) -> None:
        digest = want.cid.digest
        held = self._wants.get(digest)
        if held is not None:
            # a block is more than word of it
            held.kind = min(held.kind, want.kind)
            held.answer = held.answer or want.answer
            return
        again = self._lacking.pop(digest, None)
        if again is None and len(self) >= most:
            if not self._lacking:
                if want.answer:
                    self._refuse(want.cid.encode())
                return
            self._lacking.popitem(last=False)[1].live = False
        self._numbers += 1
        wanted = Wanted(want.cid, want.kind, want.priority, want.answer, self._numbers, now)
        self._wants[digest] = wanted
        self._push(wanted)

    def _refuse(self, raw: bytes) -> None:
        if len(self._refused) < limits.BITSWAP_PEER_WANTS:
            self._refused.append(raw)

    def _push(self, wanted: Wanted) -> None:
        heapq.heappush(self._queue, (-wanted.priority, wanted.number, wanted))
        if len(self._queue) > 2 * len(self._wants) + limits.BITSWAP_TURN_WANTS:
            # wants that were cancelled before their turn came
            self._queue = [entry for entry in self._queue if entry[2].live]
            heapq.heapify(self._queue)

    def _settle(self) -> None:
        while self._queue and not self._queue[0][2].live:
            heapq.heappop(self._queue)

    def _end(self, wanted: Wanted) -> None:
        wanted.live = False
        if self._wants.get(wanted.cid.digest) is wanted:
            del self._wants[wanted.cid.digest]

"""Two members compare: bytes, round trips and seconds, against the size of the room and against the difference.

The services, the stream machines and the stores on disk are the daemon's; between them is memory. The seconds are those
of both sides; a network adds its round trips.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.sync.past import Room
from nexusd_protocols.chatsync.frames import Compare, Messages, Open, Opened, Put, Want
from tests.harness.members import Member

REQUESTS = (Open, Want, Put)
"""Each is answered before the next; so is Compare, which both sides say."""
CARRIED = (Messages, Put)


@dataclass(frozen=True, slots=True)
class Cost:
    """What it took until both held the same. `compared` are bytes that say what is held, `carried` those of messages;
    `messages` were known to both, `different` to one of them."""

    messages: int
    different: int
    sessions: int
    trips: int
    compared: int
    carried: int
    seconds: float
    cpu_seconds: float

    @property
    def bytes(self) -> int:
        """All that travelled."""
        return self.compared + self.carried


async def compare(alice: Member, bob: Member, messages: int, different: int) -> Cost:
    """Let them compare in turn, as daemons do that had news, until what one knew both know."""
    said = alice.world.said
    said.clear()
    sessions = exchanged = 0
    began, used = time.perf_counter(), time.process_time()
    while not sessions or exchanged < different:
        one, other = (alice, bob) if sessions % 2 == 0 else (bob, alice)
        found = await one.exchange.run(one.joined, other.peer_id)
        sessions += 1
        exchanged += found.received + found.sent
        assert found.received or found.sent or not different, "a comparison that brings nothing"
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - used
    assert exchanged == different
    frames = Counter(kind for kind, _ in said)
    carried = sum(size for kind, size in said if kind in CARRIED)
    return Cost(
        messages,
        different,
        sessions,
        trips=sum(frames[kind] for kind in REQUESTS) + frames[Compare] // 2,
        compared=sum(size for _, size in said) - carried,
        carried=carried,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
    )


async def costs(
    directory: Path, sizes: Sequence[int], different: int, at: int, differences: Sequence[int], repeat: int
) -> AsyncIterator[Cost]:
    """Rooms of each size with so many different; at one size, with each number of differences, and with none."""
    room = Room(directory)
    for size in sorted({*sizes, at}):
        async with room.members(size) as (alice, bob):
            wanted = [different] * (size in sizes)
            wanted += [0, *(number for number in differences if number != different or size not in sizes)] * (
                size == at
            )
            for number in wanted:
                # new ones each time, elsewhere; a few more in a room change nothing
                for _ in range(repeat):
                    messages = room.size
                    await room.differ(alice, bob, number)
                    cost = await compare(alice, bob, messages, number)
                    assert Opened in {kind for kind, _ in alice.world.said}
                    yield cost
            assert (await alice.compare(bob.peer_id)).equal
            assert not alice.world.charged

"""Rooms of a million messages, each really signed, on two members' disks in minutes.

Rows are made by other processes while this one stores the ones before; the second member's store is a copy of the
first's, and from one size to the next the same store grows.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice, starmap
from pathlib import Path
from random import Random

import trio

from nexusd.services.rooms.intake import Brought
from nexusd.store import Store
from nexusd.store.room_rows import RoomRow
from tests.harness.history import HOUR_MS, past, said
from tests.harness.members import NOW, ROOM, Member, World
from tests.harness.nodes import signer

HOURS = 365 * 24
"""A room of a year, however many speak."""
PART = 5000
"""Messages made together, and stored in one commit."""
ALONE = 20_000
"""So few are made here: other processes take a second to start."""


def rows(count: int, seed: int, part: int = 0, parts: int = 1) -> list[RoomRow]:
    """So many messages of twenty authors, signed, evenly over that part of the year. Another seed gives others."""
    hours = HOURS // parts
    end = NOW - (1 + (parts - 1 - part) * hours) * HOUR_MS
    return list(past(ROOM, count, end + seed % 1000, hours=hours, seed=seed))


@contextlib.contextmanager
def _parts(count: int, first_seed: int) -> Iterator[Iterator[list[RoomRow]]]:
    """By date, as people speak: what comes in between other messages takes a store four times as long."""
    sizes = [min(PART, count - at) for at in range(0, count, PART)]
    jobs = [(size, first_seed + part, part, len(sizes)) for part, size in enumerate(sizes)]
    if count <= ALONE:
        yield starmap(rows, jobs)
        return
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield _ahead(pool, iter(jobs))


def _ahead(pool: ProcessPoolExecutor, jobs: Iterator[tuple[int, int, int, int]]) -> Iterator[list[RoomRow]]:
    """In order, and no more than a few parts wait."""
    going = [pool.submit(rows, *job) for job in islice(jobs, 4)]
    while going:
        yield going.pop(0).result()
        going += [pool.submit(rows, *job) for job in islice(jobs, 1)]


class Room:
    """A room on a member's disk that grows."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.size = 0
        self._seed = 0
        self._differ = Random(1)

    @asynccontextmanager
    async def members(self, size: int) -> AsyncIterator[tuple[Member, Member]]:
        """Two members who hold the same messages, `size` of them."""
        async with AsyncExitStack() as stack:
            nursery = await stack.enter_async_context(trio.open_nursery())
            world = World(nursery)
            first = await stack.enter_async_context(Store.open(self.directory / "alice.sqlite"))
            alice = Member("alice", first, world)
            await self._grow(alice, size)
            for file in self.directory.glob("bob*"):
                file.unlink()
            await first.backup(self.directory / "bob.sqlite")
            second = await stack.enter_async_context(Store.open(self.directory / "bob.sqlite"))
            bob = Member("bob", second, world)
            await second.database.write(
                lambda connection: connection.execute("UPDATE rooms SET agent = ?", (bob.agent.id,))
            )
            yield alice, bob
            nursery.cancel_scope.cancel()

    async def _grow(self, alice: Member, size: int) -> None:
        with _parts(size - self.size, self._seed) as parts:
            while part := await trio.to_thread.run_sync(next, parts, None):
                await alice.store.log.append_many([(alice.agent.id, row) for row in part], now=NOW)
                self._seed += 1
                self.size += len(part)

    async def differ(self, alice: Member, bob: Member, count: int) -> None:
        """Let so many messages, of any time in the year, be known to one of the two only: half of them to each."""
        for member, share in ((alice, math.ceil(count / 2)), (bob, count // 2)):
            made = [self._said(number) for number in range(share)]
            taken = await member.intake.take(member.joined, map(Brought, made))
            assert taken.stored == share
        self.size += count

    def _said(self, number: int) -> bytes:
        when = NOW - HOUR_MS - self._differ.randrange(HOURS * HOUR_MS)
        content = f"what only one knows, {self._differ.getrandbits(400):x}"
        return said(signer(f"author-{number % 20}"), ROOM, content, when, number).encode()

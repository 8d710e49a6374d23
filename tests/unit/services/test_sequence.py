"""Sequence numbers: never one twice, whatever the clock and the power do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from nexusd.services.sequence import Sequence

NOW = 1_800_000_000_000


class MemorySettings:
    """The store's settings without a disk. `written` is what survives; each write takes a while."""

    def __init__(self) -> None:
        self.written: dict[str, str] = {}
        self.writes = 0
        self.fault: Exception | None = None

    async def get(self, key: str) -> str | None:
        return self.written.get(key)

    async def set(self, key: str, value: str) -> None:
        self.writes += 1
        await trio.testing.wait_all_tasks_blocked()
        if self.fault is not None:
            raise self.fault
        self.written[key] = value


async def begin(settings: MemorySettings, now: int = NOW, *, per_ms: int = 1_000_000, block: int = 1 << 20) -> Sequence:
    store: Any = SimpleNamespace(settings=settings)
    sequence = Sequence(store, lambda: now, "pubsub/seqno", per_ms=per_ms, block=block)
    await sequence.load()
    return sequence


async def test_numbers_rise_from_the_clock_and_are_reserved_in_blocks() -> None:
    settings = MemorySettings()
    sequence = await begin(settings)
    numbers = [await sequence.next() for _ in range(1000)]
    assert numbers[0] > NOW * 1_000_000
    assert numbers == sorted(set(numbers))
    assert settings.writes == 1


async def test_they_rise_over_restarts_and_when_the_clock_goes_back() -> None:
    settings, last = MemorySettings(), 0
    for now in (1000, 5_000_000, 10, 5_000_001):
        sequence = await begin(settings, now, per_ms=1, block=1000)
        for _ in range(1500):
            number = await sequence.next()
            assert number > last
            last = number


@pytest.mark.parametrize("elapsed_ms", [-10 * 365 * 24 * 3600 * 1000, 0, 1000])
async def test_after_a_crash_none_is_given_again(elapsed_ms: int) -> None:
    settings = MemorySettings()
    before = await begin(settings)
    given = [await before.next() for _ in range(10)]
    after = await begin(settings, NOW + elapsed_ms)
    assert await after.next() > given[-1]


@pytest.mark.parametrize("per_ms", [1, 1_000_000])
async def test_a_node_that_lost_its_disk_goes_on_above_its_old_numbers(per_ms: int) -> None:
    old = await begin(MemorySettings(), per_ms=per_ms)
    given = [await old.next() for _ in range(1000)]
    new = await begin(MemorySettings(), NOW + 60_000, per_ms=per_ms)
    assert await new.next() > given[-1]


async def test_nobody_is_given_a_number_before_it_is_reserved() -> None:
    settings = MemorySettings()
    sequence = await begin(settings)
    given: list[int] = []

    async def take() -> None:
        number = await sequence.next()
        assert number <= int(next(iter(settings.written.values())))
        given.append(number)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(take)
    assert len(set(given)) == 50


async def test_a_reservation_that_fails_gives_no_number_and_the_next_tries_again() -> None:
    settings = MemorySettings()
    sequence = await begin(settings)
    settings.fault = OSError("full")
    with pytest.raises(OSError, match="full"):
        await sequence.next()
    settings.fault = None
    number = await sequence.next()
    assert number <= int(next(iter(settings.written.values())))


async def test_what_others_know_is_exceeded() -> None:
    sequence = await begin(MemorySettings(), 1000, per_ms=1)
    sequence.exceed(9000)
    assert await sequence.next() == 9001
    sequence.exceed(5)
    assert await sequence.next() == 9002

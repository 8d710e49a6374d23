from __future__ import annotations

from types import SimpleNamespace

import pytest

from nexusd.services.directory.sequence import Sequence
from tests.harness.directory import MemorySettings


async def started(settings: MemorySettings, now: int) -> Sequence:
    sequence = Sequence(SimpleNamespace(settings=settings), lambda: now)
    await sequence.load()
    return sequence


async def test_numbers_rise_over_restarts_and_when_the_clock_goes_back():
    settings, last = MemorySettings(), 0
    for now in (1000, 5_000_000, 10, 5_000_001):
        sequence = await started(settings, now)
        for _ in range(1500):
            number = await sequence.next()
            assert number > last
            last = number


async def test_a_lost_disk_goes_on_above_by_the_clock():
    before = [await (await started(MemorySettings(), 1_760_000_000_000)).next() for _ in range(1)]
    assert await (await started(MemorySettings(), 1_760_000_001_000)).next() > before[-1]


async def test_a_number_is_on_disk_before_it_is_given():
    settings = MemorySettings()
    sequence = await started(settings, 1000)
    settings.full = True
    with pytest.raises(OSError, match="full"):
        await sequence.next()
    settings.full = False
    number = await sequence.next()
    assert int(settings.values["directory/seq"]) >= number


async def test_what_others_know_is_exceeded():
    sequence = await started(MemorySettings(), 1000)
    sequence.exceed(9000)
    assert await sequence.next() == 9001
    sequence.exceed(5)
    assert await sequence.next() == 9002

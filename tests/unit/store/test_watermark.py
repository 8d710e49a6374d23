import pytest
import trio
import trio.testing

from nexusd.store.errors import StorageClosedError
from nexusd.store.watermark import Watermark


async def test_all_waiters_wake_once_it_is_beyond_their_value() -> None:
    watermark = Watermark("events")
    woken = []

    async def wait(beyond: int) -> None:
        woken.append((beyond, await watermark.wait_beyond(beyond)))

    async with trio.open_nursery() as nursery:
        for beyond in (0, 1, 4):
            nursery.start_soon(wait, beyond)
        await trio.testing.wait_all_tasks_blocked()
        watermark.move(2)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(woken) == [(0, 2), (1, 2)]
        watermark.move(5)
    assert sorted(woken) == [(0, 2), (1, 2), (4, 5)]


async def test_it_never_goes_back() -> None:
    watermark = Watermark("events")
    watermark.move(5)
    watermark.move(3)
    assert watermark.value == 5
    assert await watermark.wait_beyond(4) == 5


async def test_closing_wakes_those_who_wait() -> None:
    watermark = Watermark("events")
    watermark.move(1)

    async def wait() -> None:
        with pytest.raises(StorageClosedError):
            await watermark.wait_beyond(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        watermark.close()
    assert await watermark.wait_beyond(0) == 1

"""Input that waits: in order, bounded, and never in the way of a cancel."""

from __future__ import annotations

import msgspec
import trio

from nexusd.services.capabilities.backlog import JOINED_CHARS, Backlog


async def put(backlog: Backlog, data: object, final: bool) -> None:
    """As whoever reads a call does."""
    await backlog.room(data)
    backlog.add(data, final)


async def all_of(backlog: Backlog) -> list[tuple[object, bool]]:
    backlog.end()
    pieces = []
    while (piece := await backlog.take()) is not None:
        pieces.append(piece)
    return pieces


async def test_it_can_be_looked_at_once_it_is_whole() -> None:
    backlog = Backlog()
    await put(backlog, "a", False)
    assert backlog.whole() is None, "more may come"
    await put(backlog, "b", True)
    backlog.end()
    assert backlog.whole() == ["a", "b"]
    assert await all_of(backlog) == [("a", False), ("b", True)]


async def test_pieces_stay_as_they_came_while_they_are_few() -> None:
    backlog = Backlog()
    for piece in ("a", {"b": 1}, "", "c"):
        await put(backlog, piece, False)
    await put(backlog, msgspec.UNSET, True)
    assert await all_of(backlog) == [("a", False), ({"b": 1}, False), ("", False), ("c", False), (msgspec.UNSET, True)]


async def test_any_number_of_tiny_texts_costs_no_more_than_their_bytes() -> None:
    backlog = Backlog(10)
    with trio.fail_after(30):
        for number in range(50_000):
            await put(backlog, "ä" if number % 2 else "b", False)
            await put(backlog, "", False)
        await put(backlog, msgspec.UNSET, True)
    assert len(backlog) <= 10 + 50_000 // (JOINED_CHARS // 2)
    pieces = await all_of(backlog)
    assert "".join(str(data) for data, _ in pieces) == "bä" * 25_000
    assert [final for _, final in pieces] == [False] * (len(pieces) - 1) + [True]


async def test_other_json_waits_until_the_provider_takes() -> None:
    backlog = Backlog(2)
    for number in range(2):
        await put(backlog, number, False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, backlog, 2, True)
        await trio.testing.wait_all_tasks_blocked()
        assert len(backlog) == 2
        assert await backlog.take() == (0, False)
    assert await all_of(backlog) == [(1, False), (2, True)]


async def test_the_end_wakes_who_waits() -> None:
    backlog = Backlog()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.testing.wait_all_tasks_blocked)
        nursery.start_soon(all_of, backlog)
        with trio.fail_after(5):
            assert await backlog.take() is None

"""Tasks that wait: for a change, and for their turn."""

import pytest
import trio
import trio.testing

from nexusd.host.waiting import Turns, Waiting


async def test_turns_are_taken_in_order_one_at_a_time():
    turns = Turns()
    had: list[int] = []

    async def take(number: int) -> None:
        async with turns:
            had.append(number)
            await trio.testing.wait_all_tasks_blocked()
            assert had[-1] == number, "nobody else came in"

    await turns.take()
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(take, number)
            await trio.testing.wait_all_tasks_blocked()
        assert had == []
        turns.release()
    assert had == [0, 1, 2, 3, 4]
    assert not turns.taken


async def test_a_free_turn_costs_no_turn_of_the_scheduler():
    turns = Turns()
    ran: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_note, ran)
        async with turns:
            assert ran == []


async def _note(ran: list[int]) -> None:
    ran.append(1)
    await trio.lowlevel.checkpoint()


async def test_who_is_cancelled_has_no_turn_and_keeps_none_from_others():
    turns = Turns()
    with trio.CancelScope() as gone:
        gone.cancel()
        with pytest.raises(trio.Cancelled):
            await turns.take()
        assert not turns.taken
    async with trio.open_nursery() as nursery:
        await turns.take()
        with trio.CancelScope() as scope:
            nursery.start_soon(_cancel_soon, scope)
            await turns.take()
        assert scope.cancelled_caught
        turns.release()
        assert not turns.taken
        with trio.fail_after(5):
            await turns.take()
        turns.release()


async def _cancel_soon(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


async def test_whom_it_is_handed_to_has_it_even_if_cancelled_at_that_moment():
    turns = Turns()
    await turns.take()
    had: list[bool] = []

    async def take(scope: trio.CancelScope) -> None:
        with scope:
            async with turns:
                had.append(turns.taken)

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, scope)
        await trio.testing.wait_all_tasks_blocked()
        turns.release()
        scope.cancel()
    assert had == [True]
    assert not turns.taken


async def test_nothing_is_kept_of_what_nobody_waits_for():
    waiting: Waiting[str] = Waiting()
    waiting.wake("nobody")
    with trio.move_on_after(0.01):
        await waiting.wait("key")
    assert len(waiting) == 0
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(waiting.wait, "key")
        await trio.testing.wait_all_tasks_blocked()
        assert len(waiting) == 1
        waiting.wake("key")
    assert len(waiting) == 0

"""Names, providers, and who waits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from nexusd.services.capabilities.ports import CallFailed, Incoming
from nexusd.services.capabilities.registry import WAITING_PER_SLOT, Entry, Registry
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.rpc.schema import CapabilityRegisterParams

ALICE = AgentId("alice")


class Silent:
    async def call(self, incoming: Incoming) -> None:
        await trio.sleep_forever()


def entry(name: str = "upper", *, owner: object = None, slots: int = 1) -> Entry:
    options = CapabilityRegisterParams(name=name, max_concurrent=slots)
    return Entry(ALICE, CapabilityName(name), "command", Silent(), options, owner=owner)


def test_what_cannot_be_paid_is_not_available_and_says_why() -> None:
    served = replace(entry(), unable=lambda _: "the wallet is locked")
    assert (served.view().available, served.view().problem) == (False, "the wallet is locked")


def test_a_name_is_served_once() -> None:
    registry = Registry()
    first, second = object(), object()
    assert registry.add(entry(owner=first)) is None
    refusal = registry.add(entry(owner=second))
    assert refusal is not None
    assert refusal.code == "capability_taken"
    assert registry.add(entry()) is not None  # nor may the daemon take a connection's
    assert registry.add(entry(owner=first)) is None  # but the connection may register anew
    assert len(registry.of(ALICE)) == 1


def test_the_daemon_may_replace_its_own() -> None:
    registry = Registry()
    assert registry.add(entry()) is None
    newer = entry(slots=7)
    assert registry.add(newer) is None
    assert registry.find(ALICE, "upper") is newer


def test_capabilities_are_each_agents_own() -> None:
    registry = Registry()
    registry.add(entry())
    assert registry.find(AgentId("bob"), "upper") is None
    assert registry.of(AgentId("bob")) == []


def test_removing() -> None:
    registry = Registry()
    registry.add(entry())
    assert registry.remove(ALICE, "upper") is not None
    assert registry.remove(ALICE, "upper") is None


async def test_calls_wait_their_turn_and_then_are_refused(autojump_clock: trio.testing.MockClock) -> None:
    served = entry(slots=2)
    order: list[int] = []

    async def call(number: int) -> None:
        async with served.slot(f"caller {number}"):
            order.append(number)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for number in range(2 + 2 * WAITING_PER_SLOT):
            nursery.start_soon(call, number)
            await trio.testing.wait_all_tasks_blocked()
        assert (served.running, served.waiting) == (2, 2 * WAITING_PER_SLOT)
        assert not served.view().available
        with pytest.raises(CallFailed, match="BUSY"):
            async with served.slot("bob"):
                pytest.fail("there was room")
    pairs = [set(order[i : i + 2]) for i in range(0, len(order), 2)]
    assert pairs == [{i, i + 1} for i in range(0, len(order), 2)]  # first come, first served
    assert (served.running, served.waiting) == (0, 0)


async def test_a_call_that_gives_up_waiting_leaves_no_trace(autojump_clock: trio.testing.MockClock) -> None:
    served = entry()
    async with served.slot("alice"):
        with trio.move_on_after(1):
            async with served.slot("bob"):
                pytest.fail("there was room")
        assert (served.running, served.waiting) == (1, 0)


async def test_one_caller_leaves_a_place_for_others(autojump_clock: trio.testing.MockClock) -> None:
    served = entry(slots=4)

    async def call() -> None:
        async with served.slot("mallory"):
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(15):
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
        assert served.running == 3
        with pytest.raises(CallFailed, match="BUSY"):
            async with served.slot("mallory"):
                pytest.fail("that was too much for one")
        with trio.fail_after(1):
            async with served.slot("bob"):
                assert served.running == 4
        nursery.cancel_scope.cancel()
    assert not served._shares


def test_the_estimate_follows_what_calls_take() -> None:
    served = entry(slots=2)
    assert served.queue_ms == 0
    served.took(1000)
    assert served.queue_ms == 0  # there is room
    served.running = 2
    assert served.queue_ms == 500
    served.waiting = 2
    assert served.queue_ms == 1500
    served.took(2000)
    assert served.queue_ms == 1800

"""The record of calls: what shares a commit, and what becomes of it when the daemon ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from nexusd.services.capabilities.record import Record
from nexusd.store import Store
from nexusd.store.invocations import InvocationRow
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import CapabilityName
from tests.harness import stores

ALICE = AgentId("alice")


def row(invocation: str) -> InvocationRow:
    return InvocationRow(
        invocation=invocation,
        direction="in",
        peer=PeerId("bob"),
        capability=CapabilityName("upper"),
        started_at=1,
        duration_ms=1,
        input_bytes=1,
        output_bytes=1,
        outcome="ok",
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with stores.opened(tmp_path / "store.sqlite") as store:
        yield store


@pytest.fixture
def record(store: Store) -> Record:
    return Record(store, lambda event: None, lambda: 1)


async def calls(store: Store) -> int:
    return sum(usage.calls for usage in await store.invocations.summary(ALICE))


async def test_what_ends_together_shares_a_commit_and_who_waits_for_it_hurries_it(store: Store, record: Record) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(record.run)
        before = store.database.commits
        for number in range(10):
            record.ended(ALICE, row(str(number)))
        await record.written()
        assert (await calls(store), store.database.commits - before) == (10, 1)
        nursery.cancel_scope.cancel()


async def test_what_the_store_cannot_hold_costs_itself_alone(store: Store, record: Record) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(record.run)
        for each in (row("one"), replace(row("odd"), units=1 << 64), row("two")):
            record.ended(ALICE, each)
        await record.written()
        record.ended(ALICE, row("three"))
        await record.written()
        assert [each.invocation for each in (await store.invocations.list(ALICE, limit=9)).rows] == [
            "one",
            "two",
            "three",
        ]
        nursery.cancel_scope.cancel()


async def test_what_was_gathered_when_the_daemon_ends_is_written(store: Store, record: Record) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(record.run)
        record.ended(ALICE, row("one"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert await calls(store) == 1


async def test_nobody_waits_for_what_will_never_be_written(store: Store, record: Record) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(record.run)
        nursery.cancel_scope.cancel()
    record.ended(ALICE, row("late"))
    with trio.fail_after(5):
        await record.written()
    assert await calls(store) == 0

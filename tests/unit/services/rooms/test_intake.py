"""What others bring is taken or turned away; it takes nothing away of what is here, and no more room than there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from nexusd.services.rooms import intake
from nexusd.services.rooms.intake import Brought
from tests.harness.history import said
from tests.harness.members import NOW, ROOM, members
from tests.harness.nodes import signer

MALLORY = signer("mallory")


def brought(count: int, size: int = 200, first: int = 0) -> list[Brought]:
    messages = [said(MALLORY, ROOM, "x" * size, NOW - 1000 + n, n) for n in range(first, first + count)]
    return [Brought(message.encode()) for message in messages]


async def test_a_full_log_keeps_what_it_has_whoever_brings_it_again(tmp_path: Path) -> None:
    async with members(tmp_path, "alice", budget=2000) as (alice,):
        some = brought(3)
        assert (await alice.intake.take(alice.joined, some)).stored == 3
        again = await alice.intake.take(alice.joined, [*some, *brought(2, first=10)])
        assert {reason for _, reason in again.refused} == {"quota_exceeded"}
        assert len(await alice.contents()) == 3


async def test_a_blocked_authors_words_stay_whoever_brings_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with members(tmp_path, "alice") as (alice,):
        await alice.intake.take(alice.joined, brought(1))
        monkeypatch.setattr(alice.intake._policy, "allows", lambda _: False)
        taken = await alice.intake.take(alice.joined, brought(2))
        assert [reason for _, reason in taken.refused] == ["author_refused"] * 2
        assert len(await alice.contents()) == 1


async def test_who_is_cut_off_in_the_middle_takes_no_room(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        for _ in range(3):
            with trio.CancelScope() as scope:
                scope.cancel()
                await alice.intake.take(alice.joined, brought(intake.TURN_MESSAGES))
        assert alice.joined.reserved_bytes == 0
        assert (await alice.intake.take(alice.joined, brought(1))).stored == 1
        assert alice.joined.log_bytes == await alice.store.log.log_bytes(alice.agent.id, ROOM)


async def test_what_was_stored_behind_a_cancelled_back_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with members(tmp_path, "alice") as (alice,):
        append = alice.store.log.append_many

        async def cut_off(*args: Any, **named: Any) -> Any:
            await append(*args, **named)
            scope.cancel()
            await trio.lowlevel.checkpoint()

        with monkeypatch.context() as patch, trio.CancelScope() as scope:
            patch.setattr(alice.store.log, "append_many", cut_off)
            await alice.intake.take(alice.joined, brought(3))
        await alice.intake.take(alice.joined, brought(1, first=10))
        assert alice.joined.log_bytes == await alice.store.log.log_bytes(alice.agent.id, ROOM)
        assert len(await alice.contents()) == 4


async def test_tombstones_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "TOMBSTONES", 5)
    async with members(tmp_path, "alice", budget=1) as (alice,):
        for first in range(0, 12, 4):
            assert len((await alice.intake.take(alice.joined, brought(4, first=first))).refused) == 4
        assert await alice.store.log.tombstones(alice.agent.id, ROOM) == alice.joined.tombstones == 5

"""Who is refused no more is heard: what was turned away because of its author comes with the next comparison."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexusd.services.rooms import amnesty
from nexusd.services.rooms.amnesty import Amnesty
from nexusd.services.rooms.intake import Brought
from nexusd.store.errors import StorageFullError
from tests.harness.history import said
from tests.harness.members import NOW, ROOM, Member, members
from tests.harness.nodes import signer

CAROL, MALLORY = signer("carol"), signer("mallory")


async def heard_by_bob(bob: Member) -> None:
    words = [(CAROL, "carol's"), (MALLORY, "mallory's")]
    messages = [said(who, ROOM, text, NOW - 1000 + number, number) for number, (who, text) in enumerate(words)]
    assert (await bob.intake.take(bob.joined, [Brought(message.encode()) for message in messages])).stored == 2


async def test_what_an_unblocked_author_said_comes_and_nothing_else(tmp_path: Path) -> None:
    async with members(tmp_path, "alice", "bob") as (alice, bob):
        await heard_by_bob(bob)
        alice.policy.blocks |= {CAROL.peer_id: "no", MALLORY.peer_id: "no"}
        await alice.compare(bob.peer_id)
        removed = await alice.say("removed")
        await alice.store.log.bury(alice.agent.id, ROOM, [(NOW, removed.digest)], "removed", now=NOW)
        alice.joined.tombstones = None
        await alice.compare(bob.peer_id)
        assert await alice.contents() == [], "while it is blocked it stays away"

        del alice.policy.blocks[CAROL.peer_id]
        await alice.compare(bob.peer_id)
        assert await alice.contents() == []
        await Amnesty(store=alice.store, rooms=lambda: [alice.joined]).grant(alice.joined)
        await alice.compare(bob.peer_id)
        assert await alice.contents() == ["carol's"]
        assert await alice.store.log.tombstones(alice.agent.id, ROOM) == 2, "mallory's, and what was removed"
        found = await alice.compare(bob.peer_id)
        assert (found.received, found.sent) == (0, 0)


async def test_it_is_granted_at_the_start_and_each_time_it_is_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amnesty, "SETTLE_S", 0)
    async with members(tmp_path, "alice") as (alice,), trio.open_nursery() as nursery:
        asked: list[str] = []
        full = True

        async def forgive(_agent: str, room: str, reason: str) -> int:
            await trio.lowlevel.checkpoint()
            asked.append(reason)
            if full:
                raise StorageFullError("The disk is full")
            return 3

        monkeypatch.setattr(alice.store.log, "forgive", forgive)
        service = Amnesty(store=alice.store, rooms=lambda: [alice.joined])
        alice.joined.tombstones = 3
        nursery.start_soon(service.run)
        await wait_all_tasks_blocked()
        assert asked == ["author_refused"]
        assert alice.joined.tombstones == 3
        full = False
        service.declare()
        await wait_all_tasks_blocked()
        assert asked == ["author_refused"] * 2
        assert alice.joined.tombstones is None, "there is room for others"
        nursery.cancel_scope.cancel()

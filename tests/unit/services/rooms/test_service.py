"""Joining and leaving at once, being cut off in the middle, and messages of the blocked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from nexusd.agents import Agents
from nexusd.services.policy import TrustList
from nexusd.store.errors import StorageFullError
from nexusd_protocols import limits
from nexusd_protocols.identity import Signer
from nexusd_protocols.ids import uuid7
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.room import message as wire
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.mesh import done
from tests.harness.nodes import signer, until
from tests.unit.services.rooms.fakehost import GENERAL, NOW, TOPIC, alice


async def test_what_is_heard_is_stored_once(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        for number in (0, 1, 0, 1, 2):
            assert await running.topics.hear(signer("bob"), f"message {number}", number) == "accept"
        assert await running.until_stored(3) == ["message 0", "message 1", "message 2"]
        (room,) = done(await running.rooms.list(schema.ProfileGetParams())).rooms
        assert room.messages == 3


async def test_what_is_said_within_a_millisecond_stands_in_its_order(tmp_path: Path) -> None:
    said = [f"word {number}" for number in range(30)]
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        for content in said:
            done(await running.rooms.send(schema.RoomSendParams(room="general", content=content)))
        assert await running.contents() == said


async def test_what_was_said_long_ago_goes_round_once(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        an_hour_ago = NOW - 3_600_000
        assert await running.topics.hear(signer("bob"), "late", at=an_hour_ago) == "accept"
        assert await running.until_stored(1) == ["late"]
        assert await running.topics.hear(signer("bob"), "late", at=an_hour_ago) == "ignore"
        assert await running.topics.hear(signer("bob"), "later", 1, at=an_hour_ago) == "accept"
        assert await running.topics.hear(signer("bob"), "in 1970", at=5) == "ignore"


async def test_no_more_waits_for_its_commit_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexusd.services.rooms.receiving.RECEIVED_BYTES", 10_000)
    monkeypatch.setattr("nexusd.services.rooms.receiving.VERDICT_BYTES", 1000)
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        receiving = running.rooms._receiving
        most = 0
        append = running.store.log.append_many

        async def watched(*args: Any, **named: Any) -> Any:
            nonlocal most
            most = max(most, receiving._received_bytes)
            assert not receiving._judged
            return await append(*args, **named)

        monkeypatch.setattr(running.store.log, "append_many", watched)
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(running.topics.hear, signer("bob"), "x" * 3000, number)
        assert len(await running.until_stored(30)) == 30
        assert 0 < most < 20_000


async def test_an_old_presence_goes_round_no_more(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        verdicts = []
        for number, age_ms in enumerate((0, 0, 1, -1, limits.PRESENCE_AGE_MS + 1)):
            data = wire.presence(
                topic=TOPIC,
                sender=signer("bob").peer_id,
                message_id=uuid7(NOW, number.to_bytes(10, "big")),
                timestamp=NOW - age_ms,
                status="online",
            )
            message = SignedMessage.sign(signer("bob"), TOPIC, data, number + 1)
            verdicts.append(await running.topics.pass_on(signer("mallory").peer_id, message))
        assert verdicts == ["accept", "ignore", "ignore", "accept", "ignore"]


async def test_whenever_the_rooms_are_others_it_is_told(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        rooms = running.rooms
        await rooms.create(schema.RoomCreateParams(room="lab", description="our lab"))
        assert running.told[-1] == [("lab", "our lab")]
        await rooms.mirror(schema.RoomMirrorParams(room="far", retention="cache"))
        assert running.told[-1] == [("far", ""), ("lab", "our lab")]
        await rooms.leave(schema.RoomParams(room="lab"))
        await rooms.mirror(schema.RoomMirrorParams(room="far", off=True))
        assert running.told[-2:] == [[("far", "")], []]


async def test_who_offers_what_is_heard_in_rooms(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        for number, (name, status, capabilities) in enumerate(
            [("bob", "online", ("upper",)), ("carol", "busy", ("lower", "upper")), ("mallory", "offline", ("upper",))]
        ):
            author = signer(name)
            data = wire.presence(
                topic=TOPIC,
                sender=author.peer_id,
                message_id=uuid7(NOW, number.to_bytes(10, "big")),
                timestamp=NOW,
                status=status,
                capabilities=capabilities,
                agent_name=name,
                agent_type="tool",
                version="1",
            )
            await running.topics.pass_on(author.peer_id, SignedMessage.sign(author, TOPIC, data, number + 1))
        assert set(running.rooms.offering("upper")) == {signer("bob").peer_id, signer("carol").peer_id}
        assert running.rooms.offering("lower") == [signer("carol").peer_id]
        assert running.rooms.offering("other") == []


async def test_the_blocked_are_not_heard_though_others_pass_it_on(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        running.policy.blocks[signer("mallory").peer_id] = "spam"
        assert await running.topics.hear(signer("mallory"), "buy") == "ignore"
        assert await running.topics.hear(signer("bob"), "hello") == "accept"
        assert await running.until_stored(1) == ["hello"]


async def test_who_joins_while_leaving_is_in_and_hears(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        running.topics.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.rooms.leave, GENERAL)
            await trio.testing.wait_all_tasks_blocked(0.05)  # it says goodbye, which takes its time
            nursery.start_soon(running.rooms.join, GENERAL)
            await trio.testing.wait_all_tasks_blocked(0.05)
            running.topics.gate.set()
        assert running.rooms.names() == ["general"]
        assert TOPIC in running.topics.joined
        (row,) = await running.store.rooms.joined(Agents(signer("alice")).first.id)
        assert row.room == "general"


@pytest.mark.parametrize("steps", range(8))
async def test_a_client_that_goes_away_leaves_no_half_membership(tmp_path: Path, steps: int) -> None:
    """Its request is cancelled after any number of steps: memory, disk and network agree all the same."""

    async def cut_off(request: Callable[[Any], Awaitable[Any]]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(request, GENERAL)
            for _ in range(steps):
                await trio.testing.wait_all_tasks_blocked()
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()

    async with alice(tmp_path) as running:
        for request in (running.rooms.join, running.rooms.leave, running.rooms.join):
            await cut_off(request)
            await trio.testing.wait_all_tasks_blocked(0.1)
            stored = [row.room for row in await running.store.rooms.joined(Agents(signer("alice")).first.id)]
            assert running.rooms.names() == stored
            assert (TOPIC in running.topics.joined) == bool(stored)


async def test_a_client_that_goes_away_in_the_goodbye_has_left(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        running.topics.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.rooms.leave, GENERAL)
            await until(lambda: running.topics.gate.statistics().tasks_waiting)
            nursery.cancel_scope.cancel()
        running.topics.gate.set()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert running.rooms.names() == []
        assert TOPIC not in running.topics.joined


async def test_what_is_committed_is_published_though_the_client_goes_away(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        await trio.testing.wait_all_tasks_blocked(0.05)
        running.topics.published.clear()
        running.topics.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.rooms.send, schema.RoomSendParams(room="general", content="hello"))
            await running.until_stored(1)
            nursery.cancel_scope.cancel()
            running.topics.gate.set()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(running.topics.published) == 1


async def test_a_full_disk_does_not_end_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a heartbeat that needs a sequence number, nor a message that cannot be kept."""

    async def full(*_: object, **__: object) -> None:
        raise StorageFullError("The disk is full")

    async with alice(tmp_path) as running:
        with monkeypatch.context() as patch:
            patch.setattr(running.store.settings, "set", full)
            patch.setattr(running.store.log, "append_many", full)
            await running.rooms.join(GENERAL)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert await running.topics.hear(signer("bob"), "lost", 0) == "accept"
            await trio.testing.wait_all_tasks_blocked(0.05)
        assert await running.topics.hear(signer("bob"), "kept", 1) == "accept"
        assert await running.until_stored(1) == ["kept"]


def faulty(author: Signer, number: int) -> SignedMessage:
    return SignedMessage.sign(author, TOPIC, b"[" * 50 + bytes([number]), number + 1)


async def test_a_neighbour_pays_for_its_own_faults_and_not_for_what_it_passes_on(tmp_path: Path) -> None:
    bob, mallory = signer("bob").peer_id, signer("mallory")
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        for number in range(30):
            assert await running.topics.pass_on(bob, faulty(mallory, number)) == "ignore"
        assert running.charged == []
    (tmp_path / "again").mkdir()
    async with alice(tmp_path / "again") as running:
        await running.rooms.join(GENERAL)
        for number in range(30):
            assert await running.topics.pass_on(mallory.peer_id, faulty(mallory, number)) == "ignore"
        assert {peer for peer, _, _ in running.charged} == {mallory.peer_id}
        assert len(running.charged) == 30
        assert running.charged[-1][1:] == ("not_listened_to", 1)
        assert sum(points for _, reason, points in running.charged if reason != "not_listened_to") > 100


async def test_a_room_on_the_deny_list_is_not_joined_and_one_of_before_not_entered(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
    async with alice(tmp_path, rooms=TrustList(deny=["gen*"])) as running:
        assert running.rooms.names() == []
        assert TOPIC not in running.topics.joined
        refusal = await running.rooms.join(GENERAL)
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.data) == ("not_allowed", {"rule": "deny_rooms"})
        assert isinstance(await running.rooms.join(schema.RoomParams(room="lobby")), schema.Room)
    async with alice(tmp_path) as running:
        assert running.rooms.names() == ["general", "lobby"], "it is entered again once it is allowed"


async def test_stats_are_of_one_room_or_of_all(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        assert done(await running.rooms.stats(schema.RoomStatsParams())).rooms == []
        await running.rooms.join(GENERAL)
        await running.rooms.join(schema.RoomParams(room="other"))
        assert [each.room for each in done(await running.rooms.stats(schema.RoomStatsParams())).rooms] == [
            "general",
            "other",
        ]
        (general,) = done(await running.rooms.stats(schema.RoomStatsParams(room="general"))).rooms
        assert (general.peers, general.mesh, general.dropped) == (5, 1, 6)
        assert (general.published, general.delivered, general.duplicates, general.promises_broken) == (1, 2, 3, 4)
        refusal = await running.rooms.stats(schema.RoomStatsParams(room="elsewhere"))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "not_joined"

"""On which terms a room is kept: created, joined, mirrored; and what its author may change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from nexusd.services.policy import TrustList, TrustLists
from nexusd.store import Store
from nexusd_protocols.ids import uuid7
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.room import message as wire
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.mesh import done
from tests.harness.nodes import signer
from tests.unit.services.rooms.fakehost import GENERAL, NOW, TOPIC, Running, alice

MIRROR = schema.RoomMirrorParams(room="general", retention="cache")


@asynccontextmanager
async def again(store: Store, **lists: TrustList) -> AsyncIterator[Running]:
    """Alice's rooms, started on what is on the disk."""
    async with trio.open_nursery() as nursery:
        running = Running(store, TrustLists(**lists))
        await nursery.start(running.rooms.run)
        yield running
        nursery.cancel_scope.cancel()


def refused(answer: Any) -> str:
    assert isinstance(answer, Refusal), answer
    return answer.code


def published(running: Running) -> list[dict[str, Any]]:
    return [msgspec.json.decode(message.data) for message in running.topics.published]


async def say(running: Running, text: str) -> str:
    sent = done(await running.rooms.send(schema.RoomSendParams(room="general", content=text)))
    return str(sent.message_id)


async def test_creating_is_joining_on_terms_and_leaves_word(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        params = schema.RoomCreateParams(room="general", description="all of us", retention="retained")
        made = done(await running.rooms.create(params))
        assert (made.description, made.retention, made.mirror, made.messages) == ("all of us", "retained", False, 0)
        assert [each["payload"] for each in published(running) if each["type"] == "meta"] == [
            {"action": "room:created", "roomId": "general"}
        ]
        assert refused(await running.rooms.create(params)) == "refused"
        assert refused(await running.rooms.create(schema.RoomCreateParams(room="a/b"))) == "invalid_name"
    async with Store.open(tmp_path / "store.sqlite") as store, again(store) as running:
        (room,) = done(await running.rooms.list(schema.ProfileGetParams())).rooms
        assert (room.description, room.retention) == ("all of us", "retained")


async def test_a_room_that_is_not_allowed_is_neither_created_nor_mirrored(tmp_path: Path) -> None:
    async with alice(tmp_path, rooms=TrustList(deny=["gen*"])) as running:
        assert refused(await running.rooms.create(schema.RoomCreateParams(room="general"))) == "not_allowed"
        assert refused(await running.rooms.mirror(MIRROR)) == "not_allowed"
        assert TOPIC not in running.topics.joined


async def test_a_mirror_listens_and_says_nothing(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        room = done(await running.rooms.mirror(MIRROR))
        assert (room.mirror, room.retention, room.members_online) == (True, "cache", 0)
        assert await running.topics.hear(signer("bob"), "for the record") == "accept"
        assert await running.until_stored(1) == ["for the record"]
        await running.rooms.announce(running.rooms._agents.first.id)
        await running.rooms.say_goodbye()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert published(running) == []
        params = schema.RoomSendParams(room="general", content="me")
        assert refused(await running.rooms.send(params)) == "not_joined"
        assert refused(await running.rooms.leave(GENERAL)) == "not_joined"
        assert done(await running.rooms.members(GENERAL)).members == []
    async with Store.open(tmp_path / "store.sqlite") as store, again(store) as running:
        assert TOPIC in running.topics.joined, "it goes on after a restart"
        off = done(await running.rooms.mirror(schema.RoomMirrorParams(room="general", off=True)))
        assert not off.mirror
        assert TOPIC not in running.topics.joined
        assert refused(await running.rooms.mirror(schema.RoomMirrorParams(room="general", off=True))) == "not_joined"
        assert await running.contents() == ["for the record"]


async def test_from_a_mirror_to_a_member_and_back(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.rooms.mirror(MIRROR)
        joined = done(await running.rooms.join(GENERAL))
        assert (joined.mirror, joined.retention, joined.members_online) == (False, "cache", 1)
        await say(running, "I am here")
        done(await running.rooms.leave(GENERAL))
        (room,) = done(await running.rooms.list(schema.ProfileGetParams())).rooms
        assert room.mirror, "the copy goes on"
        assert TOPIC in running.topics.joined
        done(await running.rooms.mirror(schema.RoomMirrorParams(room="general", off=True)))
        assert running.rooms.names() == []


async def test_a_member_that_mirrors_stays_a_member(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        room = done(await running.rooms.mirror(MIRROR))
        assert (room.mirror, room.retention) == (False, "cache")
        room = done(await running.rooms.mirror(schema.RoomMirrorParams(room="general", off=True)))
        assert not room.mirror
        await say(running, "still here")


async def test_only_the_author_changes_a_message(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        mine = await say(running, "mine")
        await running.topics.hear(signer("bob"), "bob's", 5)
        await running.until_stored(2)
        theirs = uuid7(NOW, (5).to_bytes(10, "big"))

        async def edit(message_id: str, content: str = "other") -> Any:
            params = schema.RoomEditParams(room="general", message_id=message_id, content=content)
            return await running.rooms.edit(params)

        assert refused(await edit(theirs)) == "not_author"
        assert refused(await edit(uuid7(NOW, bytes(10)))) == "message_unknown"
        assert refused(await edit(mine, "x" * 300_000)) == "too_large"
        done(await edit(mine, "mine, and better"))
        assert sorted(await running.contents()) == ["bob's", "mine, and better"]
        taken = schema.RoomMessageParams(room="general", message_id=mine)
        done(await running.rooms.retract(taken))
        assert sorted(await running.contents()) == ["", "bob's"]
        assert refused(await running.rooms.retract(taken)) == "refused"
        assert refused(await edit(mine)) == "refused"
        kinds = [version.kind for version in done(await running.rooms.versions(taken)).versions]
        assert kinds == ["chat", "edit", "retract"]
        unknown = schema.RoomMessageParams(room="general", message_id=uuid7(NOW, bytes(10)))
        assert refused(await running.rooms.versions(unknown)) == "message_unknown"


async def test_an_edit_by_another_changes_nothing(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        mine = await say(running, "mine")
        mallory = signer("mallory")
        data = wire.edit(
            topic=TOPIC,
            sender=mallory.peer_id,
            message_id=uuid7(NOW, bytes(10)),
            timestamp=NOW,
            target=mine,
            content="not mine",
        )
        assert await running.topics.pass_on(mallory.peer_id, SignedMessage.sign(mallory, TOPIC, data, 1)) == "accept"
        await running.topics.hear(signer("bob"), "after", 1)
        assert sorted(await running.until_stored(2)) == ["after", "mine"]


async def test_what_messages_refer_to_is_told_once(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        cid = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
        params = schema.RoomSendParams(room="general", content="see", references=[cid])
        done(await running.rooms.send(params))
        me = running.rooms._agents.first.signer.peer_id
        assert running.referred == [("general", me, [cid])]


async def test_history_that_cannot_be_asked_for(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.rooms.join(GENERAL)
        await say(running, "hello world")
        history = schema.RoomHistoryParams(room="general", after=99)
        assert refused(await running.rooms.history(history)) == "invalid_params"
        search = schema.RoomSearchParams(room="general", query='"')
        assert refused(await running.rooms.search(search)) == "invalid_params"
        found = done(await running.rooms.search(schema.RoomSearchParams(room="general", query="wor*")))
        assert [message.content for message in found.messages] == ["hello world"]
        for request in (running.rooms.sync, running.rooms.members):
            assert refused(await request(schema.RoomParams(room="elsewhere"))) == "not_joined"
        assert refused(await running.rooms.verify(schema.RoomVerifyParams(room="elsewhere"))) == "not_joined"
        alone = done(await running.rooms.verify(schema.RoomVerifyParams(room="general")))
        assert (alone.sound, alone.messages, alone.peers) == (True, 1, [])
        assert done(await running.rooms.sync(GENERAL)).peers == []

"""Hostile pubsub: forged, replayed, ill-timed messages, and control floods."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import trio

from nexusd_protocols.ids import RoomId
from nexusd_protocols.pubsub import rpc_pb2
from nexusd_protocols.room.topics import room_topic
from tests.harness.daemon import Daemon, meet
from tests.harness.mallory import MESHSUB, Line, Mallory, chat, framed, mallory, packed, rpc, unharmed
from tests.harness.nodes import signer, until

ROOM = "attacked"
TOPIC = room_topic(RoomId(ROOM))
HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def joined(alice: Daemon, bob: Daemon) -> None:
    if ROOM not in alice.rpc("node.status")["rooms"]:
        meet(ROOM, alice, bob)


def contents(daemon: Daemon) -> list[str]:
    return [row["content"] for row in daemon.rpc("room.history", room=ROOM, limit=500)["messages"]]


async def arrives(daemon: Daemon, content: str) -> None:
    """The one that comes last: all before it were judged."""
    await until(lambda: content in contents(daemon))


async def send(m: Mallory, line: Line, *messages: Any) -> None:
    assert await line.write(rpc(*messages))


def fresh(word: str) -> str:
    return f"{word} {time.time_ns()}"


FORGERIES = {
    "another's signature": lambda m, data: packed(m.signed(TOPIC, data), signature=m.signed(TOPIC, b"x").signature),
    "another's name": lambda m, data: packed(m.signed(TOPIC, data), from_id=b"\x00$\x08\x01\x12 " + b"\x07" * 32),
    "no signature": lambda m, data: packed(m.signed(TOPIC, data), signature=b""),
    "a foreign key": lambda m, data: packed(m.signed(TOPIC, data), key=b"\x08\x01\x12\x20" + b"\x07" * 32),
    "a short seqno": lambda m, data: packed(m.signed(TOPIC, data), seqno=b"\x01"),
    "signed for another topic": lambda m, data: packed(m.signed("/nexus/room/other", data), topic=TOPIC),
    "no sender": lambda m, data: packed(m.signed(TOPIC, data), from_id=b""),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_forged_messages_reach_nobody(alice: Daemon, bob: Daemon, forgery: str) -> None:
    bad, good = fresh("forged"), fresh("good")
    async with mallory(alice, name=forgery) as m:
        line = await m.open(alice, MESHSUB)
        await send(m, line, FORGERIES[forgery](m, chat(m.peer_id, TOPIC, bad)))
        await send(m, line, packed(m.signed(TOPIC, chat(m.peer_id, TOPIC, good))))
        await arrives(bob, good)
    assert bad not in contents(alice)
    assert bad not in contents(bob)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


PAYLOADS: dict[str, Any] = {
    "sender who did not sign": {"sender": "12D3KooWPT98FXMfDQYavZm66EeVjTqP9Nnehn1gyaydqV8L8BQw"},
    "another topic": {"topic": "/nexus/room/other"},
    "2100": {"timestamp": 4_102_444_800_000},
    "an hour ahead": {"timestamp": now_ms() + HOUR_MS},
    "before 1970": {"timestamp": -1},
    "time as text": {"timestamp": "now"},
    "time beyond all numbers": {"timestamp": 1e300},
    "another version": {"version": 2},
    "no id": {"id": ""},
    "id with escapes": {"id": "\x1b[2J"},
    "id of 65 characters": {"id": "x" * 65},
    "references without end": {"references": ["x"] * 1000},
    "payload of a number": {"payload": 7},
    "unknown format": {"payload": {"content": "x", "format": "text/html"}},
    "unknown type": {"type": "nobody.knows"},
}


@pytest.mark.parametrize("fault", PAYLOADS)
async def test_faulty_payloads_are_not_stored(alice: Daemon, bob: Daemon, fault: str) -> None:
    bad, good = fresh(f"bad: {fault}"), fresh("good")
    async with mallory(alice, name=fault) as m:
        line = await m.open(alice, MESHSUB)
        data = chat(m.peer_id, TOPIC, bad, **PAYLOADS[fault])
        await send(m, line, packed(m.signed(TOPIC, data)))
        await send(m, line, packed(m.signed(TOPIC, chat(m.peer_id, TOPIC, good))))
        await arrives(bob, good)
    assert bad not in contents(alice)


@pytest.mark.parametrize(
    "data",
    [
        b"not json",
        b"\xff\xfe",
        b'{"version":1,"x":NaN}',
        b'{"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b"[[]" + b",[]" * 80_000 + b"]",
        b"{" * 200_000,
    ],
    ids=["not JSON", "not UTF-8", "NaN", "10,000 deep", "80,000 lists", "only opening"],
)
async def test_payloads_that_are_not_json(alice: Daemon, data: bytes) -> None:
    good = fresh("good")
    with unharmed(alice):
        async with mallory(alice, name=f"json {data[:9]!r}") as m:
            line = await m.open(alice, MESHSUB)
            await send(m, line, *(packed(m.signed(TOPIC, data)) for _ in range(3)))
            await send(m, line, packed(m.signed(TOPIC, chat(m.peer_id, TOPIC, good))))
            await arrives(alice, good)


async def test_an_old_message_is_good_and_a_replayed_one_is_stored_once(alice: Daemon, bob: Daemon) -> None:
    """Yesterday is what catching up may bring, and 1970 nobody's. The same bytes again change nothing; of several
    messages with one id one is shown, the same everywhere."""
    old, other, good, never = fresh("yesterday"), fresh("other words"), fresh("good"), fresh("1970")
    yesterday = int(time.time() * 1000) - 86_400_000
    async with mallory(alice, name="replay") as m:
        line = await m.open(alice, MESHSUB)
        message_id = fresh("id").replace(" ", "-")
        first = m.signed(TOPIC, chat(m.peer_id, TOPIC, old, id=message_id, timestamp=yesterday))
        await send(m, line, packed(m.signed(TOPIC, chat(m.peer_id, TOPIC, never, timestamp=0))))
        await send(m, line, *[packed(first)] * 50)
        await send(m, line, packed(m.signed(TOPIC, chat(m.peer_id, TOPIC, other, id=message_id))))
        await send(m, line, packed(m.signed(TOPIC, first.data)))
        # carol's message comes through mallory: honest, and hers
        carol = signer("carol")
        await send(m, line, packed(m.signed(TOPIC, chat(carol.peer_id, TOPIC, good), by=carol)))
        await arrives(bob, good)
    shown = []
    for daemon in (alice, bob):
        said = contents(daemon)
        shown.append([words for words in said if words in (old, other)])
        assert len(shown[-1]) == 1
        assert never not in said
        (row,) = [row for row in daemon.rpc("room.history", room=ROOM, limit=500)["messages"] if row["content"] == good]
        assert row["sender"] == carol.peer_id
    assert shown[0] == shown[1]


async def test_a_seen_number_with_other_words_does_not_hide_the_true_message(alice: Daemon) -> None:
    """mallory cannot take carol's place by sending her number first."""
    good, bad = fresh("good"), fresh("bad")
    carol = signer("carol")
    async with mallory(alice, name="shadow") as m:
        line = await m.open(alice, MESHSUB)
        true = m.signed(TOPIC, chat(carol.peer_id, TOPIC, good), by=carol)
        await send(m, line, packed(true, data=chat(carol.peer_id, TOPIC, bad)))
        await send(m, line, packed(true))
        await arrives(alice, good)
    assert bad not in contents(alice)


async def test_presence_that_is_old_is_no_sign_of_life(alice: Daemon) -> None:
    good = fresh("good")
    async with mallory(alice, name="presence") as m:
        ghost = signer("ghost")
        payload = {"status": "online", "capabilities": [], "agentName": "ghost", "agentType": "tool", "version": "1"}
        data = chat(
            ghost.peer_id, TOPIC, "", type="presence", payload=payload, timestamp=now_ms() - HOUR_MS, id=fresh("g")[6:]
        )
        line = await m.open(alice, MESHSUB)
        await send(m, line, packed(m.signed(TOPIC, data, by=ghost)))
        await send(m, line, packed(m.signed(TOPIC, chat(m.peer_id, TOPIC, good))))
        await arrives(alice, good)
    members = alice.rpc("room.members", room=ROOM)["members"]
    assert ghost.peer_id not in {member["agent"] for member in members if member["status"] != "offline"}


async def test_ten_thousand_ghosts_are_not_ten_thousand_members(alice: Daemon) -> None:
    """A signed presence costs mallory a key; the roster is bounded."""
    good = fresh("good")
    payload = {"status": "online", "capabilities": [], "agentName": "g", "agentType": "tool", "version": "1"}
    with unharmed(alice, mebibytes=64):
        async with mallory(alice, name="ghosts") as m:
            line = await m.open(alice, MESHSUB)
            for start in range(0, 6000, 100):
                ghosts = [signer(f"ghost {n}") for n in range(start, start + 100)]
                await send(
                    m,
                    line,
                    *(
                        packed(
                            m.signed(
                                TOPIC,
                                chat(g.peer_id, TOPIC, "", type="presence", payload=payload, id=f"g{time.time_ns()}"),
                                by=g,
                            )
                        )
                        for g in ghosts
                    ),
                )
            await send(m, line, packed(m.signed(TOPIC, chat(m.peer_id, TOPIC, good))))
            with trio.fail_after(60):
                await until(lambda: good in contents(alice), 60)
        assert len(alice.rpc("room.members", room=ROOM)["members"]) <= 4097


CONTROL = {
    "10 MB length": b"\x80\xad\xe2\x04" + b"x" * 1000,
    "junk": framed(b"\xff" * 50),
    "10,000 subscriptions": framed(
        rpc_pb2.RPC(
            subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=f"/nexus/room/{n}") for n in range(10_000)]
        ).SerializeToString()
    ),
    "subscription of 100 KB": framed(
        rpc_pb2.RPC(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid="x" * 100_000)]).SerializeToString()
    ),
    "10,000 grafts": framed(
        rpc_pb2.RPC(
            control=rpc_pb2.ControlMessage(graft=[rpc_pb2.ControlGraft(topic_id=f"t{n}") for n in range(10_000)])
        ).SerializeToString()
    ),
    "10,000 ihave": framed(
        rpc_pb2.RPC(
            control=rpc_pb2.ControlMessage(
                ihave=[rpc_pb2.ControlIHave(topic_id=TOPIC, message_ids=[f"{n:064x}".encode() for n in range(10_000)])]
            )
        ).SerializeToString()
    ),
    "iwant that is no hex": framed(
        rpc_pb2.RPC(
            control=rpc_pb2.ControlMessage(
                iwant=[rpc_pb2.ControlIWant(message_ids=[b"zz", b"", b"\xe2\x82\xac", b"\xff"])]
            )
        ).SerializeToString()
    ),
}


@pytest.mark.parametrize("junk", CONTROL)
async def test_control_floods(alice: Daemon, bob: Daemon, junk: str) -> None:
    good = fresh("good")
    with unharmed(alice):
        async with mallory(alice, name=f"control {junk}") as m:
            for _ in range(3):
                line = await m.open(alice, MESHSUB)
                for _ in range(5):
                    if not await line.write(CONTROL[junk]):
                        break
            # whoever floods is not listened to any more; everybody else is
            bob.rpc("room.send", room=ROOM, content=good)
            await arrives(alice, good)


async def test_a_room_is_not_drowned(alice: Daemon, bob: Daemon) -> None:
    """What bob says while mallory shouts faulty messages arrives before she ends."""
    good = fresh("good")
    with unharmed(alice, mebibytes=96):
        async with mallory(alice, name="shouter") as m, trio.open_nursery() as nursery:
            line = await m.open(alice, MESHSUB)

            async def shout() -> None:
                while True:
                    batch = [
                        packed(m.signed(TOPIC, chat(m.peer_id, "/nexus/room/other", "x" * 1000))) for _ in range(200)
                    ]
                    if not await line.write(rpc(*batch)):
                        return

            nursery.start_soon(shout)
            await trio.sleep(1)
            bob.rpc("room.send", room=ROOM, content=good)
            await arrives(alice, good)
            nursery.cancel_scope.cancel()


def test_json_is_what_the_reader_expects() -> None:
    """The tests above prove something only if an unspoilt message is taken."""
    assert set(json.loads(chat("s", "t", "c"))) == {
        "version", "type", "id", "timestamp", "sender", "topic", "payload", "references",
    }  # fmt: skip

"""Members compare rooms: what either lacks is exchanged, and whoever lies pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from nexusd.host.ports import ConnectionLostError, HostError, UnsupportedError
from nexusd.services.rooms import answering
from nexusd.services.rooms.answering import AT_ONCE, AT_ONCE_EACH, HEADS
from nexusd.services.rooms.exchange import GIVEN, SyncRefusedError
from nexusd.services.rooms.intake import Brought
from nexusd.store.errors import StorageFullError
from nexusd_protocols import limits
from nexusd_protocols.chatsync.frames import (
    PROTOCOL,
    Head,
    Headed,
    Messages,
    Open,
    Opened,
    Put,
    Refused,
    Want,
)
from nexusd_protocols.chatsync.index import Item, Key
from nexusd_protocols.chatsync.ranges import MAX_KEY, Ranges, Skip
from nexusd_protocols.chatsync.stream import SyncInitiator, SyncResponder
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.cid import DAG_CBOR, Cid
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.history.batch import BatchRef, batches
from nexusd_protocols.history.bounds import HOUR_MS, hour_of
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.history import said
from tests.harness.liars import Give, Loose, Offer, giving, lie, naming, nothing, offering
from tests.harness.members import NOW, ROOM, Member, MemberStreams, members
from tests.harness.nodes import signer

MALLORY = signer("mallory")
HOUR = hour_of(NOW - 3 * HOUR_MS)


async def test_each_gets_what_it_lacked(tmp_path: Path) -> None:
    async with members(tmp_path, "alice", "bob") as (alice, bob):
        both = await alice.say("both")
        await bob.intake.take(bob.joined, [Brought(both.encode())])
        await alice.say("only alice's")
        await bob.say("only bob's")
        found = await alice.compare(bob.peer_id)
        assert (found.received, found.sent, found.equal) == (1, 1, False)
        assert await alice.contents() == await bob.contents() == ["both", "only alice's", "only bob's"]
        assert bob.served == [(alice.peer_id, True)]
        again = await bob.compare(alice.peer_id)
        assert (again.received, again.sent, again.equal, again.summary.count) == (0, 0, True, 3)
        assert alice.world.charged == []


async def test_rounds_end_once_nothing_differs(tmp_path: Path) -> None:
    async with members(tmp_path, "alice", "bob") as (alice, bob):
        await bob.say("hello")
        found = await alice.compare(bob.peer_id, rounds=3)
        assert (found.received, found.equal) == (1, True)


async def test_large_messages_go_in_several_frames(tmp_path: Path) -> None:
    async with members(tmp_path, "alice", "bob") as (alice, bob):
        for number in range(12):
            await alice.say(f"{number:2}" * 100_000, NOW + number)
        await bob.say("small")
        found = await alice.compare(bob.peer_id)
        assert (found.received, found.sent) == (1, 12)
        carol_like = await bob.compare(alice.peer_id)
        assert carol_like.equal
        await alice.store.log.bury(alice.agent.id, ROOM, [], "nothing", now=NOW)  # nothing to bury changes nothing
        assert (await bob.compare(alice.peer_id)).equal


async def test_who_is_far_behind_is_left_to_fetch(tmp_path: Path) -> None:
    """It gets whole batches when it asks; pushed at, it would get everything twice."""
    async with members(tmp_path, "alice", "bob") as (alice, bob):
        messages = [said(alice.signer, ROOM, f"{n}", NOW - 3 * HOUR_MS + n, n) for n in range(GIVEN + 200)]
        await alice.intake.take(alice.joined, [Brought(message.encode()) for message in messages])
        await alice.publish()
        left = await alice.compare(bob.peer_id)
        assert (left.sent, left.equal) == (0, False)
        found = await bob.compare(alice.peer_id)
        assert found.received == GIVEN + 200
        assert len(bob.blocks.asked) == (GIVEN + 200 + 99) // 100
        assert (await bob.compare(alice.peer_id)).equal
        await bob.publish()
        heads = [await member.store.batches.head(member.agent.id, ROOM) for member in (alice, bob)]
        assert heads[0] == heads[1] is not None


async def test_what_was_refused_for_want_of_room_is_not_offered_again(tmp_path: Path) -> None:
    async with members(tmp_path, "alice", "bob", budget=2000) as (alice, bob):
        for number in range(3):
            await alice.say(f"{number}" * 200, NOW + number)
        rows = [said(bob.signer, ROOM, "x" * 200, NOW + 10 + n, n) for n in range(6)]
        taken = await bob.intake.take(bob.joined, [Brought(message.encode()) for message in rows])
        assert {reason for _, reason in taken.refused} == {"quota_exceeded"}
        found = await bob.compare(alice.peer_id)
        assert found.received == 0, "there is no room"
        assert (await bob.compare(alice.peer_id)).equal, "a tombstone is in its place"
        assert alice.world.charged == []


async def test_a_full_disk_is_no_acknowledgement_and_later_all_of_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise StorageFullError("The disk is full")

    async with members(tmp_path, "alice", "bob") as (alice, bob):
        await alice.say("hello")
        with monkeypatch.context() as patch:
            patch.setattr(bob.store.log, "append_many", full)
            with pytest.raises(SyncRefusedError, match="storage_full"):
                await alice.compare(bob.peer_id)
            with pytest.raises(StorageFullError):
                await bob.compare(alice.peer_id)
        assert await bob.contents() == []
        assert (await bob.compare(alice.peer_id)).received == 1
        assert alice.world.charged == []


async def test_a_member_may_refuse(tmp_path: Path) -> None:
    async with members(tmp_path, "alice", "bob") as (alice, bob):
        elsewhere = bob.answering._find
        bob.answering._find = lambda _: None
        with pytest.raises(SyncRefusedError, match="not_here"):
            await alice.compare(bob.peer_id)
        bob.answering._find = elsewhere
        bob.answering._busy[alice.peer_id] = AT_ONCE_EACH
        with pytest.raises(SyncRefusedError, match="busy"):
            await alice.compare(bob.peer_id)
        bob.answering._busy.clear()
        bob.answering._busy[MALLORY.peer_id] = AT_ONCE
        with pytest.raises(SyncRefusedError, match="busy"):
            await alice.compare(bob.peer_id)
        bob.answering._busy.clear()
        assert (await alice.compare(bob.peer_id)).equal
        assert bob.answering._busy == {}
        bob.answering._of(alice.peer_id).comparisons.turn(trio.current_time(), 1000)
        with pytest.raises(SyncRefusedError, match="busy"):
            await alice.compare(bob.peer_id)
        assert alice.world.charged == [("alice", "too_many_comparisons", 1)]
        bob.answering._asked.clear()
        bob.answering._of(alice.peer_id).work.turn(trio.current_time(), 100)
        with pytest.raises((SyncRefusedError, ConnectionLostError)):
            await alice.compare(bob.peer_id)
        assert alice.world.charged[1:] == [("alice", "too_much_work", 10)]
        bob.answering._asked.clear()
        del alice.world.handlers[bob.peer_id, PROTOCOL]
        alice.world.serve("bob", "/other", SyncResponder, _nothing)
        with pytest.raises(UnsupportedError):
            await alice.compare(bob.peer_id)


async def test_what_is_put_costs_its_verifying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with members(tmp_path, "alice", "bob") as (alice, bob):
        await alice.compare(bob.peer_id)  # alice is known, with all that she may ask for
        for number in range(40):
            await alice.say(f"{number}")
        work = bob.answering._asked[alice.peer_id].work
        work.turn(trio.current_time(), answering.WORK_S[0] - 1)
        monkeypatch.setattr(answering, "TAKE_S", 0.02)
        await alice.compare(bob.peer_id)
        assert work.turn(trio.current_time(), 0) == 0, "that was within bounds"
        for number in range(40, 80):
            await alice.say(f"{number}")
        with pytest.raises(SyncRefusedError, match="busy"):
            await alice.compare(bob.peer_id)
        assert ("alice", "too_much_work", 10) in alice.world.charged
        assert len((await bob.store.log.history(bob.agent.id, ROOM, limit=500)).rows) == 40, "it was not verified"


async def _nothing(_: Any) -> None:
    await trio.lowlevel.checkpoint()


async def test_equal_sums_are_proven_by_equal_checkpoints(tmp_path: Path) -> None:
    async with members(tmp_path, "alice", "bob") as (alice, bob):

        async def seal() -> None:
            await alice.sealing.seal(alice.joined)

        await alice.intake.take(alice.joined, [Brought(m.encode()) for m in in_hour(150)])
        found = await alice.compare(bob.peer_id, rounds=2)
        assert (found.equal, found.sent, found.sealed) == (True, 150, None)
        await bob.sealing.seal(bob.joined)
        found = await alice.exchange.run(alice.joined, bob.peer_id, rounds=2, seal=seal)
        assert found.sealed is True


async def test_few_checkpoints_are_named_in_one_comparison(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        streams = MemberStreams(alice.world, MALLORY.peer_id)
        channel = await streams.open(alice.peer_id, [PROTOCOL], lambda _: SyncInitiator())
        await channel.send(Open(ROOM, 0))
        assert isinstance(await channel.receive(), Opened)
        for _ in range(HEADS):
            await channel.send(Head(0, 10))
            assert await channel.receive() == Headed(None, 0)
        await channel.send(Head(0, 10))
        assert await channel.receive() == Refused("busy")


async def test_other_objects_of_the_same_sums(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Bob says that he knows just what alice knows, and names another checkpoint."""
    async with members(tmp_path, "alice") as (alice,):

        async def seal() -> None:
            await alice.sealing.seal(alice.joined)

        await alice.intake.take(alice.joined, [Brought(m.encode()) for m in in_hour(150)])
        mallory = liar(alice, lambda asked: Ranges(asked.lower, (Skip(asked.upper),)), nothing)
        found = await alice.exchange.run(alice.joined, mallory, rounds=2, seal=seal)
        assert (found.equal, found.sealed) == (True, False)


# --- liars ------------------------------------------------------------------------------------------------------------
def liar(member: Member, offer: Offer, give: Give) -> Any:
    """Mallory answers with what is given here, whatever was asked."""

    async def serve(channel: Any) -> None:
        await lie(channel, offer, give)

    return member.world.serve("mallory", PROTOCOL, lambda _: Loose(), serve)


def item_of(message: SignedMessage, timestamp: int = NOW) -> Item:
    return Item(timestamp, message.digest)


def forged(content: str = "forged", timestamp: int = NOW) -> SignedMessage:
    """Mallory signs what alice never said."""
    good = said(signer("alice"), ROOM, content, timestamp, 7)
    return SignedMessage(good.sender, good.data, good.seqno, good.topic, MALLORY.sign(b"anything"))


async def test_promised_and_not_delivered(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        fakes = [Item(NOW, bytes([n]) * 32) for n in range(100)]
        mallory = liar(alice, offering(*fakes), nothing)
        assert (await alice.compare(mallory)).received == 0
        assert alice.world.charged == [("mallory", "broken_promise", 100)]
        assert await alice.store.log.read_index(alice.agent.id, ROOM, lambda index: index.items(*_all(), 9)) == []


async def test_a_million_that_do_not_exist_end_at_the_first_hundreds(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        fakes = [Item(NOW, n.to_bytes(32, "big")) for n in range(1500)]
        wants: list[int] = []

        def give(want: Want) -> Sequence[Messages]:
            wants.append(len(want.digests))
            return nothing(want)

        mallory = liar(alice, offering(*fakes), give)
        with pytest.raises(RemoteProtocolError, match="empty_promises"):
            await alice.compare(mallory)
        assert sum(wants) <= limits.SYNC_UNDELIVERED + limits.SYNC_WANTS
        assert alice.world.points("mallory") >= limits.SYNC_UNDELIVERED


@pytest.mark.parametrize(
    ("message", "timestamp", "reason"),
    [
        (forged(), NOW, "bad_signature"),
        (said(MALLORY, "elsewhere", "hi", NOW, 1), NOW, "wrong_room"),
        (said(MALLORY, ROOM, "hi", NOW, 1), NOW - 1, "wrong_place"),
        (SignedMessage.sign(MALLORY, "/nexus/room/lab", b"[not json", 1), NOW, "bad_message"),
    ],
    ids=["forged", "elsewhere", "misfiled", "garbage"],
)
async def test_what_no_honest_member_has(tmp_path: Path, message: SignedMessage, timestamp: int, reason: str) -> None:
    async with members(tmp_path, "alice") as (alice,):
        good = said(signer("carol"), ROOM, "carol did say this", NOW, 5)
        mallory = liar(
            alice, offering(item_of(message, timestamp), item_of(good)), giving(message.encode(), good.encode())
        )
        with pytest.raises(RemoteProtocolError, match=reason):
            await alice.compare(mallory)
        assert [(who, why) for who, why, _ in alice.world.charged] == [("mallory", reason)]
        assert alice.world.points("mallory") >= 25
        assert await alice.contents() == ["carol did say this"], "what verifies is kept, whoever brought it"


async def test_what_is_not_wanted_is_refused_by_the_machine(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        wanted, other = (said(MALLORY, ROOM, text, NOW, n) for n, text in enumerate(("wanted", "other")))
        mallory = liar(alice, offering(item_of(wanted)), giving(other.encode()))
        with pytest.raises(RemoteProtocolError, match="unasked_message"):
            await alice.compare(mallory)
        assert await alice.contents() == []


@pytest.mark.parametrize(
    ("timestamp", "reason"), [(0, "before_horizon"), (4_102_444_800_000, "clock_ahead")], ids=["1970", "2100"]
)
async def test_dates_that_no_history_has_room_for(tmp_path: Path, timestamp: int, reason: str) -> None:
    async with members(tmp_path, "alice") as (alice,):
        message = said(MALLORY, ROOM, "when?", timestamp, 1)
        taken = await alice.intake.take(alice.joined, [Brought(message.encode())])
        assert taken.refused == [(message.digest, reason)]
        assert (taken.stored, taken.lies) == (0, [])
        assert await alice.store.log.read_index(alice.agent.id, ROOM, lambda index: index.items(*_all(), 9)) == []


async def test_who_is_refused_here_leaves_a_tombstone(tmp_path: Path) -> None:
    async with members(tmp_path, "alice", "bob") as (alice, bob):
        message = said(MALLORY, ROOM, "buy", NOW, 1)
        await bob.intake.take(bob.joined, [Brought(message.encode())])
        alice.policy.blocks[MALLORY.peer_id] = "spam"
        assert (await alice.compare(bob.peer_id)).received == 0
        assert (await alice.compare(bob.peer_id)).equal
        assert alice.world.charged == [], "bob is not to blame for what mallory says"


async def test_a_later_kind_of_message_is_not_asked_for_again(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        data = said(MALLORY, ROOM, "hi", NOW, 1).data.replace(b'"type":"chat"', b'"type":"poll"')
        message = SignedMessage.sign(MALLORY, "/nexus/room/lab", data, 1)
        mallory = liar(alice, offering(item_of(message)), giving(message.encode()))
        assert (await alice.compare(mallory)).received == 0
        assert alice.world.charged == []
        (kept,) = await alice.store.log.read_index(alice.agent.id, ROOM, lambda index: index.items(*_all(), 9))
        assert kept == Item(NOW, message.digest, gone=True)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [([forged()], "bad_signature"), ([said(MALLORY, "elsewhere", "hi", NOW, 1)], "wrong_room")],
    ids=["forged", "elsewhere"],
)
async def test_who_puts_what_nobody_signed_pays(tmp_path: Path, messages: list[SignedMessage], reason: str) -> None:
    async with members(tmp_path, "alice") as (alice,):
        alice.world.names[MALLORY.peer_id] = "mallory"
        streams = MemberStreams(alice.world, MALLORY.peer_id)
        channel = await streams.open(alice.peer_id, [PROTOCOL], lambda _: SyncInitiator())
        await channel.send(Open(ROOM, 0))
        assert isinstance(await channel.receive(), Opened)
        good = said(signer("carol"), ROOM, "carol did say this", NOW, 5)
        await channel.send(Put((*(message.encode() for message in messages), good.encode())))
        assert await channel.receive() == Refused(reason)
        assert [(who, why) for who, why, _ in alice.world.charged] == [("mallory", reason)]
        assert await alice.contents() == ["carol did say this"]


# --- batches ----------------------------------------------------------------------------------------------------------
def sealed(messages: Sequence[SignedMessage], room: str = ROOM) -> tuple[BatchRef, bytes]:
    ((ref, block),) = batches(room, HOUR, [message.encode() for message in messages])  # type: ignore[arg-type]
    return ref, block.data


def handmade(**changes: Any) -> tuple[BatchRef, bytes]:
    """A batch as nobody's code makes one."""
    signed = sorted((m.encode() for m in in_hour(3)), key=lambda raw: SignedMessage.decode(raw).digest)
    fields = {"schema": "nexus:message-batch:v2", "room": ROOM, "hour": HOUR, "part": 0, "messages": signed} | changes
    data = dag_cbor.encode(fields)  # type: ignore[arg-type]
    return BatchRef(HOUR, 0, Cid.of(DAG_CBOR, data), min(100, len(fields["messages"]))), data  # type: ignore[arg-type]


def in_hour(count: int, room: str = ROOM) -> list[SignedMessage]:
    return [said(signer("carol"), room, f"{n}", HOUR * HOUR_MS + n, n) for n in range(count)]


def many() -> list[bytes]:
    return sorted((m.encode() for m in in_hour(101)), key=lambda raw: SignedMessage.decode(raw).digest)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: handmade(messages=many()), "too_many"),
        (lambda: handmade(room="elsewhere"), "wrong_room"),
        (lambda: handmade(messages=[m.encode() for m in in_hour(1, "elsewhere")]), "wrong_room"),
        (lambda: handmade(hour=HOUR + 1), "wrong_hour"),
        (lambda: handmade(messages=[b"garbage"]), "bad_object"),
        (lambda: handmade(messages=many()[2::-1]), "unsorted"),
        (lambda: handmade(part=1), "wrong_batch"),
        (lambda: handmade(more=1), "bad_object"),
    ],
    ids=["101", "of another room", "a message of another room", "hour", "garbage", "unsorted", "part", "more"],
)
async def test_batches_that_nobody_makes(
    tmp_path: Path, made: Callable[[], tuple[BatchRef, bytes]], reason: str
) -> None:
    async with members(tmp_path, "alice") as (alice,):
        ref, data = made()
        alice.world.blocks[ref.cid] = data
        mallory = liar(alice, naming(ref), nothing)
        with pytest.raises(RemoteProtocolError, match=reason):
            await alice.compare(mallory)
        assert [(who, why) for who, why, _ in alice.world.charged] == [("mallory", reason)]
        assert await alice.contents() == []
        assert alice.joined.fetching == set()


async def test_a_batch_with_one_forged_message_gives_the_others(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        ref, data = sealed([*in_hour(9), forged(timestamp=HOUR * HOUR_MS + 50)])
        alice.world.blocks[ref.cid] = data
        mallory = liar(alice, naming(ref), nothing)
        with pytest.raises(RemoteProtocolError, match="bad_signature"):
            await alice.compare(mallory)
        assert [(who, why) for who, why, _ in alice.world.charged] == [("mallory", "bad_signature")]
        assert await alice.contents() == [f"{n}" for n in range(9)]


async def test_a_batch_that_nobody_has(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        ref, _ = sealed(in_hour(9))
        mallory = liar(alice, naming(ref), nothing)
        with pytest.raises(HostError):
            await alice.compare(mallory)
        assert [(who, why) for who, why, _ in alice.world.charged] == [("mallory", "broken_promise")]


async def test_two_who_name_the_same_batches_make_us_fetch_them_once(tmp_path: Path) -> None:
    async with members(tmp_path, "alice", "bob") as (alice, bob):
        await alice.intake.take(alice.joined, [Brought(m.encode()) for m in in_hour(100)])
        await alice.publish()
        (ref,) = await alice.store.batches.batch_refs(alice.agent.id, ROOM, limit=9)
        bob.joined.fetching.add(ref.cid)  # on its way, from somebody else
        assert (await bob.compare(alice.peer_id)).received == 0
        assert bob.blocks.asked == []
        bob.joined.fetching.clear()
        assert (await bob.compare(alice.peer_id)).received == 100


def _all() -> tuple[Key, Key]:
    return Key(0, b""), MAX_KEY


async def test_what_was_brought_to_one_member_alone_is_no_difference(tmp_path: Path) -> None:
    async with members(tmp_path, "alice", "bob") as (alice, bob):
        for number in range(40):
            message = await alice.say(f"{number}", NOW - 1000 * number)
            await bob.intake.take(bob.joined, [Brought(message.encode())])
        # one that nobody reads, and one of somebody whom alice does not listen to
        unreadable = SignedMessage.sign(
            MALLORY, alice.joined.topic, b'{"version":9,"type":"x","timestamp":%d}' % NOW, 1
        )
        await alice.intake.take(alice.joined, [Brought(unreadable.encode())])
        blocked = said(MALLORY, ROOM, "only for alice", NOW - 5500, 2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(alice.intake._policy, "allows", lambda _: False)
            await alice.intake.take(alice.joined, [Brought(blocked.encode())])
        assert await alice.store.log.tombstones(alice.agent.id, ROOM) == 2
        for one, other in ((alice, bob), (bob, alice)):
            found = await one.compare(other.peer_id)
            assert (found.equal, found.complete, found.received, found.sent) == (True, True, 0, 0)

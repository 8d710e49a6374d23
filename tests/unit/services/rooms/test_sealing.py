"""Closed hours become objects, the same at every member; and what anybody changes on the disk shows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
import trio

from nexusd.services.rooms import sealing
from nexusd.services.rooms.exchange import Exchanged
from nexusd.services.rooms.intake import Brought
from nexusd.services.rooms.sync import Compared
from nexusd.services.rooms.verification import FAULTS, Verification
from nexusd.store.errors import StorageFullError
from nexusd_protocols import limits
from nexusd_protocols.chatsync.index import Key
from nexusd_protocols.chatsync.ranges import MAX_KEY
from nexusd_protocols.content.block import Block
from nexusd_protocols.history.bounds import DAY_HOURS, HOUR_MS, hour_of
from nexusd_protocols.history.checkpoint import read_checkpoint
from nexusd_protocols.history.day import read_day
from nexusd_protocols.history.errors import HistoryError
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.rpc.schema import RoomVerified
from tests.harness.history import said
from tests.harness.members import NOW, ROOM, Member, members
from tests.harness.nodes import signer

CAROL = signer("carol")


def messages(count: int, hours: int = 3, end: int = NOW) -> list[SignedMessage]:
    """Evenly over the hours before."""
    step = hours * HOUR_MS // count
    return [said(CAROL, ROOM, f"{n}", end - hours * HOUR_MS + n * step, n) for n in range(count)]


async def take(member: Member, what: list[SignedMessage]) -> None:
    taken = await member.intake.take(member.joined, [Brought(message.encode()) for message in what])
    assert taken.stored == len(what)


async def test_who_holds_the_same_makes_the_same(tmp_path: Path) -> None:
    async with members(tmp_path, "alice", "bob") as (alice, bob):
        everything = messages(300)
        await take(alice, everything)
        shuffled = random.Random(1).sample(everything, len(everything))
        await take(bob, shuffled[:100])
        await bob.sealing.seal(bob.joined)  # too early: the hours change once more
        await take(bob, shuffled[100:])
        for member in (alice, bob):
            assert await member.sealing.seal(member.joined)
            assert not await member.sealing.seal(member.joined), "nothing is left to do"
        heads = [await member.store.batches.head(member.agent.id, ROOM) for member in (alice, bob)]
        assert heads[0] == heads[1] is not None
        # down from the checkpoint to every message
        block = await bob.store.blocks.get(heads[0])
        assert block is not None
        refs = []
        for day in read_checkpoint(block, room=ROOM):
            below = await bob.store.blocks.get(day.cid)
            assert below is not None
            refs += read_day(below, room=ROOM).batches
        closed = [m for m in everything if hour_of(_date(m)) < hour_of(NOW - 600_000)]
        assert sum(ref.count for ref in refs) == len(closed)


def _date(message: SignedMessage) -> int:
    timestamp: int = msgspec.json.decode(message.data)["timestamp"]
    return timestamp


async def test_an_hour_is_open_until_ten_minutes_after_its_end(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        end = (hour_of(NOW) + 1) * HOUR_MS
        await alice.say("now")
        alice.now = end + 599_999
        assert not await alice.sealing.seal(alice.joined)
        alice.now = end + 600_000
        assert await alice.sealing.seal(alice.joined)


async def test_only_the_last_checkpoint_is_pinned(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        for number in range(3):
            await take(alice, [said(CAROL, ROOM, "x", NOW - (9 - number) * HOUR_MS, number)])
            await alice.sealing.seal(alice.joined)
        head = await alice.store.batches.head(alice.agent.id, ROOM)
        pins = (await alice.store.blocks.pins(alice.agent.id, f"history:{ROOM}", limit=10)).rows
        assert [pin.cid for pin in pins] == [head]
        assert head is not None
        assert await alice.store.blocks.missing(head, 10) == []


async def test_what_is_older_than_its_class_goes_in_whole_hours(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        alice.joined.retention = "archival"
        await take(alice, messages(48 * 4, hours=48))
        await alice.sealing.seal(alice.joined)
        before = alice.joined.log_bytes
        alice.joined.retention = "cache"  # a day
        await alice.sealing.trim(alice.joined)
        left = (await alice.store.log.history(alice.agent.id, ROOM, limit=500)).rows
        assert 0 < alice.joined.log_bytes < before
        assert min(row.timestamp for row in left) == hour_of(NOW - 24 * HOUR_MS) * HOUR_MS
        result = await verify(alice)
        assert result.sound, result.faults
        refs = await alice.store.batches.batch_refs(alice.agent.id, ROOM, limit=500)
        assert min(ref.hour for ref in refs) == hour_of(NOW - 24 * HOUR_MS)


async def test_an_empty_room_is_left_without_a_checkpoint(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        await take(alice, messages(3, hours=30))
        await alice.sealing.seal(alice.joined)
        refs = [(_date(message), message.digest) for message in messages(3, hours=30)]
        await alice.store.log.bury(alice.agent.id, ROOM, refs, "removed", now=NOW)
        await alice.sealing.seal(alice.joined)
        assert await alice.store.batches.days(alice.agent.id, ROOM) == []
        found = await verify(alice)
        assert (found.sound, found.messages, found.head) == (True, 0, None)


async def test_a_day_that_is_too_full_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_many(*_: object) -> Any:
        raise HistoryError("too_many", "batches in a day")

    async with members(tmp_path, "alice") as (alice,):
        await take(alice, messages(3, hours=30))
        monkeypatch.setattr(sealing, "make_day", too_many)
        assert await alice.sealing.seal(alice.joined)
        assert await alice.store.batches.head(alice.agent.id, ROOM) is None


async def test_the_batches_of_a_day_that_is_too_full_are_kept_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with members(tmp_path, "alice") as (alice,):
        monkeypatch.setattr(limits, "DAY_BATCHES", 3)
        monkeypatch.setattr(sealing, "SHELF_BATCHES", 2)
        start = (NOW // (24 * HOUR_MS) - 2) * 24 * HOUR_MS
        blocks, owner = alice.store.blocks, f"history:{ROOM}"

        async def say(hours: Sequence[int]) -> None:
            await take(alice, [said(CAROL, ROOM, "x", start + hour * HOUR_MS, hour) for hour in hours])
            await alice.sealing.seal(alice.joined)

        async def there() -> list[bool]:
            alice.now += 2 * HOUR_MS
            await blocks.collect(now=alice.now)
            refs = await alice.store.batches.batch_refs(alice.agent.id, ROOM, limit=500)
            return [await blocks.get(ref.cid) is not None for ref in refs]

        await say([0, 1, 2])  # as many as there is room for
        before = await alice.store.batches.head(alice.agent.id, ROOM)
        await say([3, 4])
        assert await there() == [True] * 5
        assert await alice.store.batches.days(alice.agent.id, ROOM) == [], "no checkpoint says half of it"
        await say([25, 26])  # of another day
        assert await there() == [True] * 7
        await say([5])
        assert await there() == [True] * 8
        pins = (await blocks.pins(alice.agent.id, owner, limit=10)).rows
        head = await alice.store.batches.head(alice.agent.id, ROOM)
        assert len(pins) == 1 + 3, "a checkpoint of the other day, and three shelves"
        assert head in {pin.cid for pin in pins}
        assert before not in {pin.cid for pin in pins}
        assert (await verify(alice)).sound
        alice.joined.retention = "cache"
        await alice.sealing.trim(alice.joined)
        await say([45])
        pins = (await blocks.pins(alice.agent.id, owner, limit=10)).rows
        assert [pin.name for pin in pins] == [f"history of {ROOM}"], "what nobody keeps any more has no shelves"


async def test_what_ends_between_the_batches_and_the_day_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise StorageFullError("The disk is full")

    async with members(tmp_path, "alice", "bob") as (alice, bob):
        for member in (alice, bob):
            await take(member, messages(30))
        await bob.sealing.seal(bob.joined)
        with monkeypatch.context() as patch:
            patch.setattr(alice.store.batches, "save_days", full)
            with pytest.raises(StorageFullError):
                await alice.sealing.seal(alice.joined)
        named = await alice.store.log.read_index(
            alice.agent.id, ROOM, lambda index: index.batches(Key(0, b""), MAX_KEY, 9)
        )
        assert named == [], "nobody is told of what no checkpoint keeps"
        assert await alice.sealing.seal(alice.joined)
        heads = [await member.store.batches.head(member.agent.id, ROOM) for member in (alice, bob)]
        assert heads[0] == heads[1] is not None
        assert (await verify(alice)).sound


async def test_late_words_have_a_full_hour_made_again_only_so_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "AGAIN_BYTES", (50_000.0, 1.0))
    async with members(tmp_path, "alice") as (alice,):
        sizes: list[int] = []

        async def put(blocks: Sequence[Block], *, now: int) -> int:
            sizes.extend(len(block.data) for block in blocks if len(block.data) > 10_000)
            return await put_all(blocks, now=now)

        put_all = alice.store.blocks.put
        monkeypatch.setattr(alice.store.blocks, "put", put)
        await take(alice, [said(CAROL, ROOM, "x" * 300, NOW - 3 * HOUR_MS + n, n) for n in range(100)])
        assert await alice.sealing.seal(alice.joined, all_of_it=False)
        first = sum(sizes)
        for number in range(20):
            await take(alice, [said(CAROL, ROOM, "late", NOW - 3 * HOUR_MS + 200 + number, 500 + number)])
            await alice.sealing.seal(alice.joined, all_of_it=False)
        assert sum(sizes) <= first + 50_000 + 2 * first
        assert await alice.sealing.seal(alice.joined), "who asks for a proof does not wait"
        assert (await verify(alice)).sound


async def test_others_are_told_of_a_new_checkpoint_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    async with members(tmp_path, "alice") as (alice,):
        monkeypatch.setattr(trio, "current_time", lambda: now)
        await alice.sealing._tell(alice.joined)
        for number in range(3):
            await take(alice, [said(CAROL, ROOM, "late", NOW - 3 * HOUR_MS + number, number)])
            await alice.sealing.seal(alice.joined)
            await alice.sealing._tell(alice.joined)
        assert len(alice.heads) == 1
        now += sealing.TELL_S
        await alice.sealing._tell(alice.joined)
        assert alice.heads[1:] == [await alice.store.batches.head(alice.agent.id, ROOM)]


async def test_an_hour_that_changes_while_it_is_made_is_for_another_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with members(tmp_path, "alice") as (alice,):
        everything = messages(3)
        await take(alice, everything)
        places = alice.store.batches.places_of_hour

        async def changed(*args: Any) -> Any:
            found = await places(*args)
            items = [(_date(message), message.digest) for message in everything[:1]]
            await alice.store.log.bury(alice.agent.id, ROOM, items, "removed", now=NOW)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(alice.store.batches, "places_of_hour", changed)
            await alice.sealing.seal(alice.joined)
        await alice.sealing.seal(alice.joined)
        assert (await verify(alice)).sound


# --- the proof --------------------------------------------------------------------------------------------------------
class NobodyThere:
    """What verification asks of `Sync`."""

    async def ask(self, *_: object, **__: object) -> list[Any]:
        await trio.lowlevel.checkpoint()
        return []


async def verify(member: Member) -> RoomVerified:
    sync: Any = NobodyThere()
    verification = Verification(store=member.store, sync=sync, sealing=member.sealing, name_of=lambda _: None)
    return await verification.verify(member.joined, 3)


async def change(member: Member, statement: str, *bindings: Any, blocks: bool = False) -> None:
    database = member.store.blocks.database if blocks else member.store.database

    def write(connection: apsw.Connection) -> None:
        connection.execute(statement, bindings)
        assert connection.changes()

    await database.write(write)


async def test_a_sound_room(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        await take(alice, messages(250, hours=30))
        await alice.sealing.seal(alice.joined)
        found = await verify(alice)
        assert (found.sound, found.agreed, found.fault_count, found.messages) == (True, True, 0, 250)
        closed = {hour_of(_date(m)) for m in messages(250, hours=30)} - {hour_of(NOW - 600_000), hour_of(NOW)}
        assert found.batches == len(closed)
        assert found.days == len({hour // DAY_HOURS for hour in closed})
        assert found.head == str(await alice.store.batches.head(alice.agent.id, ROOM))
        await take(alice, [said(CAROL, ROOM, "late", NOW - 29 * HOUR_MS, 999)])
        assert (await verify(alice)).sound, "an hour that is to be sealed anew is no fault"


SWAPPED = (
    "UPDATE room_batches SET cid = (SELECT cid FROM room_batches WHERE hour = (SELECT max(hour) FROM room_batches))"
    " WHERE hour = (SELECT min(hour) FROM room_batches)"
)


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE room_messages SET signed = randomblob(200) WHERE position = 7", {"message", "batch"}),
        ("DELETE FROM room_messages WHERE position = 7", {"message", "batch"}),
        ("UPDATE room_items SET timestamp = timestamp + 1 WHERE position = 7", {"message"}),
        (SWAPPED, {"batch", "day"}),
        ("UPDATE room_days SET messages = messages + 1", {"day", "checkpoint"}),
        ("DELETE FROM room_days WHERE day = (SELECT min(day) FROM room_days)", {"checkpoint"}),
    ],
    ids=["signed", "deleted", "filed", "batch", "day", "checkpoint"],
)
async def test_what_was_changed_on_the_disk(tmp_path: Path, statement: str, what: set[str]) -> None:
    async with members(tmp_path, "alice") as (alice,):
        await take(alice, messages(250, hours=30))
        await alice.sealing.seal(alice.joined)
        await change(alice, statement)
        found = await verify(alice)
        assert not found.sound
        assert {fault.what for fault in found.faults} == what


class Asking:
    """What verification asks of `Sync`, of one member."""

    def __init__(self, member: Member, other: Member) -> None:
        self._member = member
        self._other = other

    async def ask(self, *_: object, **__: object) -> list[Compared]:
        return [Compared(self._other.peer_id, await self._member.compare(self._other.peer_id))]

    async def fetch(self, *args: Any) -> dict[bytes, bytes]:
        return await self._member.exchange.fetch(*args)


@pytest.mark.parametrize("sealed_first", [True, False])
async def test_a_damaged_message_is_had_again_from_a_member(tmp_path: Path, sealed_first: bool) -> None:
    async with members(tmp_path, "alice", "bob") as (alice, bob):
        for member in (alice, bob):
            await take(member, messages(20, hours=30))
        if sealed_first:
            await alice.sealing.seal(alice.joined)
        before = await alice.store.log.log_bytes(alice.agent.id, ROOM)
        await change(alice, "UPDATE room_messages SET signed = randomblob(200) WHERE position IN (7, 8)")
        lost = messages(20, hours=30)[6]
        await bob.store.log.bury(bob.agent.id, ROOM, [(_date(lost), lost.digest)], "removed", now=NOW)
        if not sealed_first:
            await alice.sealing.seal(alice.joined)
        sync: Any = Asking(alice, bob)
        verification = Verification(store=alice.store, sync=sync, sealing=alice.sealing, name_of=lambda _: None)
        found = await verification.verify(alice.joined, 3)
        assert found.mended == 1
        faults = [(fault.name, fault.reason) for fault in found.faults if fault.what == "message"]
        assert faults == [(lost.digest.hex(), "not what its digest says")], "what nobody has stays as it is"
        kept = await alice.store.log.signed(alice.agent.id, ROOM, [lost.digest])
        assert len(kept[lost.digest]) == 200

        await bob.store.log.forgive(bob.agent.id, ROOM, "removed")
        await take(bob, [lost])
        found = await verification.verify(alice.joined, 3)
        assert found.mended == 1
        assert await alice.store.log.log_bytes(alice.agent.id, ROOM) == alice.joined.log_bytes == before
        await alice.sealing.seal(alice.joined)
        await bob.sealing.seal(bob.joined)
        found = await verification.verify(alice.joined, 3)
        assert (found.sound, found.mended) == (True, 0), found.faults
        heads = [await member.store.batches.head(member.agent.id, ROOM) for member in (alice, bob)]
        assert heads[0] == heads[1]


async def test_a_block_that_was_lost(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        await take(alice, messages(250, hours=30))
        await alice.sealing.seal(alice.joined)
        ref, *_ = await alice.store.batches.batch_refs(alice.agent.id, ROOM, limit=1)
        await change(alice, "DELETE FROM blocks WHERE digest = ?", ref.cid.digest, blocks=True)
        found = await verify(alice)
        assert [(fault.what, fault.name) for fault in found.faults] == [("batch", str(ref.cid))]


async def test_a_day_with_more_than_there_is_room_for_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with members(tmp_path, "alice") as (alice,):
        await take(alice, messages(250, hours=30))
        await alice.sealing.seal(alice.joined)
        monkeypatch.setattr(limits, "DAY_BATCHES", 1)
        found = await verify(alice)
        assert "day" in {fault.what for fault in found.faults}


async def test_who_keeps_nothing_of_that_time_agrees_to_nothing(tmp_path: Path) -> None:
    class Lying:
        async def ask(self, *_: object, **__: object) -> list[Compared]:
            await trio.lowlevel.checkpoint()
            return [Compared(alice.peer_id, Exchanged(equal=True, lower=Key(NOW, b""), upper=Key(NOW, b"")))]

    async with members(tmp_path, "alice") as (alice,):
        sync: Any = Lying()
        verification = Verification(store=alice.store, sync=sync, sealing=alice.sealing, name_of=lambda _: None)
        (agreement,) = (await verification.verify(alice.joined, 1)).peers
        assert agreement.outcome == "no_answer"


async def test_faults_are_counted_and_some_listed(tmp_path: Path) -> None:
    async with members(tmp_path, "alice") as (alice,):
        await take(alice, messages(FAULTS + 20))
        await change(alice, "UPDATE room_messages SET signed = x'00'")
        found = await verify(alice)
        assert found.fault_count == FAULTS + 20
        assert len(found.faults) == FAULTS

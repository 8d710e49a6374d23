"""What a store is doing when the power goes, or the disk fills: what was before, what is done, what is to be true then.

Each act may be done again from its beginning, by whoever does not know how far it came: that is how the daemon goes on
after an error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from nexusd.store import Store
from nexusd.store.blocks import Pin
from nexusd.store.blocks.collection import GRACE_MS
from nexusd.store.errors import StorageError
from nexusd.store.room_rows import RoomRow
from nexusd_protocols.content.block import Block
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.bounds import HOUR_MS
from nexusd_protocols.history.day import DayRef
from tests.unit.store.blocks.content import node, raw
from tests.unit.store.messages import LAB, at, edit, message, retract
from tests.unit.store.people import ALICE, CAROL

Done = dict[str, StorageError | None]
"""What was tried: None once it was acknowledged."""


@dataclass(frozen=True, slots=True)
class Scene:
    """`act` notes in `done` what was acknowledged; `check` sees a store after a restart."""

    name: str
    act: Callable[[Store, Done], Awaitable[None]]
    check: Callable[[Store, Done], Awaitable[None]]
    prepare: Callable[[Store], Awaitable[None]] | None = None


async def attempt(done: Done, name: str, what: Callable[[], Awaitable[object]]) -> None:
    """Do one thing, and note what came of it."""
    try:
        await what()
    except StorageError as error:
        done[name] = error
    else:
        done[name] = None


def acknowledged(done: Done) -> set[str]:
    return {name for name, error in done.items() if error is None}


# --- the log ----------------------------------------------------------------------------------------------------------
POSTED: Final = {f"post {number}": message(number, content="x " * 300) for number in range(3)}


async def post(store: Store, done: Done) -> None:
    for name, row in POSTED.items():
        await attempt(done, name, lambda row=row: store.log.append(ALICE, row, now=1))


async def _whole(store: Store, rows: list[RoomRow]) -> list[bool]:
    found = await store.log.signed(ALICE, LAB, [row.digest for row in rows])
    return [found.get(row.digest) == row.signed for row in rows]


async def check_posts(store: Store, done: Done) -> None:
    for name in acknowledged(done):
        assert await _whole(store, [POSTED[name]]) == [True], f"{name} is lost"


_SAID: Final = [message(number) for number in range(20, 26)]
RECEIVED: Final = {
    "chat": [message(number, sender=CAROL, thread_id="t") for number in range(10, 18)],
    "twice": [message(30, salt=salt) for salt in "abc"],
    "edits": [edit(40, _SAID[0], "new"), edit(41, _SAID[1], "newer"), retract(42, _SAID[2]), retract(43, message(44))],
    "late": [message(44), at(5, message(45))],
}


async def prepare_received(store: Store) -> None:
    await store.log.append_many([(ALICE, row) for row in _SAID], now=1)


async def receive(store: Store, done: Done) -> None:
    async with trio.open_nursery() as nursery:
        for name, rows in RECEIVED.items():
            batch = [(ALICE, row) for row in rows]
            nursery.start_soon(attempt, done, name, lambda batch=batch: store.log.append_many(batch, now=2))


async def check_received(store: Store, done: Done) -> None:
    for name, rows in RECEIVED.items():
        whole = await _whole(store, rows)
        assert len(set(whole)) == 1, f"{name} came in part"
        assert whole[0] or name not in acknowledged(done), f"{name} is lost"
    assert all(await _whole(store, _SAID))


async def forget(store: Store, done: Done) -> None:
    buried = [(row.timestamp, row.digest) for row in _SAID[4:]] + [(1099, b"\1" * 32)]
    await attempt(done, "bury", lambda: store.log.bury(ALICE, LAB, buried, "unwanted", now=3))
    await attempt(done, "expire", lambda: store.log.expire(ALICE, LAB, 1023))


async def check_forgotten(store: Store, done: Done) -> None:
    whole = await _whole(store, _SAID)
    assert whole[3], "what is to stay is lost"
    assert len(set(whole[4:])) == 1, "some are buried and some are not"
    if "bury" in acknowledged(done):
        assert not any(whole[4:]), "what was buried has come back"
    if "expire" in acknowledged(done):
        assert not any(whole[:3]), "what expired has come back"


# --- batches ----------------------------------------------------------------------------------------------------------
_HOUR: Final = [at(3 * HOUR_MS + number, message(number)) for number in range(5)]
BATCH: Final = raw("a batch", 3000)
DAY: Final = node(BATCH, name="day")
HEAD: Final = node(DAY, name="head")


async def prepare_hour(store: Store) -> None:
    await store.log.append_many([(ALICE, row) for row in _HOUR], now=1)


async def seal(store: Store, done: Done) -> None:
    """As the daemon does: the blocks, their pin, then what names them."""

    async def batch() -> None:
        state = await store.batches.signed_of_hour(ALICE, LAB, 3)
        assert len(state.signed) == len(_HOUR)
        await store.blocks.put([BATCH], now=1)
        await store.blocks.pin(_pin(BATCH, owner="room:lab"), now=1)
        await store.batches.save_batches(ALICE, LAB, 3, state.changes, [BatchRef(3, 0, BATCH.cid, 5)])

    async def day() -> None:
        await store.blocks.put([DAY, HEAD], now=1)
        await store.batches.save_days(ALICE, LAB, [DayRef(0, DAY.cid, 5)], head=HEAD.cid)

    await attempt(done, "batch", batch)
    await attempt(done, "day", day)


async def check_sealed(store: Store, done: Done) -> None:
    refs = await store.batches.batch_refs(ALICE, LAB, limit=9)
    if "batch" in acknowledged(done):
        assert refs == [BatchRef(3, 0, BATCH.cid, 5)]
    if refs:
        assert await store.batches.dirty_hours(ALICE, LAB, 9, 9) == []
        assert await store.blocks.get(BATCH.cid) == BATCH
    if "day" in acknowledged(done):
        assert await store.batches.head(ALICE, LAB) == HEAD.cid
        assert await store.blocks.get(HEAD.cid) == HEAD


# --- blocks -----------------------------------------------------------------------------------------------------------
def _pin(block: Block, **fields) -> Pin:
    return Pin(**({"agent": ALICE, "owner": "user", "cid": block.cid, "retention": "archival"} | fields))


_LEAVES: Final = [raw("small"), raw("large", 70_000), raw("middling", 9_000)]
PUT: Final = {"leaves": _LEAVES, "node": [node(*_LEAVES)], "again": [_LEAVES[0], raw("other", 300)]}


async def put(store: Store, done: Done) -> None:
    for name, blocks in PUT.items():
        await attempt(done, name, lambda blocks=blocks: store.blocks.put(blocks, now=1))


async def check_put(store: Store, done: Done) -> None:
    for name in acknowledged(done):
        for block in PUT[name]:
            assert await store.blocks.get(block.cid) == block, f"a block of {name} is lost"
    assert await store.blocks.damaged(9) == []


async def prepare_pins(store: Store) -> None:
    await store.blocks.put(_LEAVES, now=1)
    await store.blocks.pin(_pin(_LEAVES[0]), now=1)


async def pin(store: Store, done: Done) -> None:
    await attempt(done, "pin", lambda: store.blocks.pin(_pin(_LEAVES[1], name="x" * 300), now=2))
    await attempt(done, "again", lambda: store.blocks.pin(_pin(_LEAVES[1], name="y"), now=3))
    await attempt(done, "unpin", lambda: store.blocks.unpin(ALICE, "user", _LEAVES[0].cid))


async def check_pins(store: Store, done: Done) -> None:
    names = {found.cid: found.name for found in (await store.blocks.pins(limit=9)).rows}
    tried = acknowledged(done)
    if "again" in tried:
        assert names[_LEAVES[1].cid] == "y"
    elif "pin" in tried:
        assert names[_LEAVES[1].cid] in ("x" * 300, "y")
    assert ("unpin" in tried) <= (_LEAVES[0].cid not in names)
    for block in _LEAVES:
        assert await store.blocks.get(block.cid) == block


_LOOSE: Final = [raw(f"loose {number}", 20_000) for number in range(5)]
_KEPT: Final = [node(*_LEAVES), *_LEAVES]
LATER: Final = GRACE_MS + 10


async def prepare_loose(store: Store) -> None:
    await store.blocks.put([*_LOOSE[:3], *_KEPT, *_LOOSE[3:]], now=0)
    await store.blocks.pin(_pin(_KEPT[0]), now=0)
    await store.blocks.pin(_pin(_LOOSE[0], expires_at=1), now=0)


async def collect(store: Store, done: Done) -> None:
    await attempt(done, "collect", lambda: store.blocks.collect(now=LATER))


async def check_collected(store: Store, done: Done) -> None:
    for block in _KEPT:
        assert await store.blocks.get(block.cid) == block, "what was pinned is lost"
    assert await store.blocks.missing(_KEPT[0].cid, 9) == []
    left = await store.blocks.has(block.cid for block in _LOOSE)
    if "collect" in acknowledged(done):
        assert left == set()
    for block in _LOOSE:
        assert await store.blocks.get(block.cid) == (block if block.cid in left else None)


SCENES: Final = [
    Scene("post", post, check_posts),
    Scene("receive", receive, check_received, prepare_received),
    Scene("forget", forget, check_forgotten, prepare_received),
    Scene("batch", seal, check_sealed, prepare_hour),
    Scene("put", put, check_put),
    Scene("pin", pin, check_pins, prepare_pins),
    Scene("collect", collect, check_collected, prepare_loose),
]

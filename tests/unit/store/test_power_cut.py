"""The power fails at every operation that changes the disk. What was acknowledged is there afterwards, whole; what was
not is there whole or not at all; the file is sound. With NORMAL instead of FULL, or an answer before the commit, these
tests fail (checked by hand, and by the last test)."""

from random import Random

import pytest
import trio

from nexusd.store import Store
from nexusd.store import writer as writer_module
from nexusd.store.errors import StorageError
from nexusd_protocols.ids import MessageId
from tests.harness.disk import PowerCutDisk
from tests.harness.stores import place
from tests.unit.store.messages import LAB, message
from tests.unit.store.people import ALICE, BOB

MESSAGES = 4


async def receive(store: Store, number: int) -> None:
    await store.inbox.receive(
        ALICE, peer=BOB, message_id=MessageId(f"m{number}"), content="x" * 700, format="text/plain", now=number
    )


async def post(store: Store, number: int) -> None:
    await store.log.append(ALICE, message(number, content="x" * 700), now=number)


async def send(store: Store, number: int) -> None:
    position = await store.inbox.begin_send(
        ALICE, peer=BOB, message_id=MessageId(f"m{number}"), content="x" * 700, format="text/plain", now=number
    )
    await store.inbox.finish_send(ALICE, position, "stored", now=number)


async def stored(store: Store) -> list[str]:
    """The ids that are stored; each must have its event, and the counts must agree."""
    assert await store.database.integrity() == []
    direct = (await store.inbox.list(ALICE, limit=500)).rows
    room = (await store.log.history(ALICE, LAB, limit=500)).rows
    assert await store.log.count(ALICE, LAB) == len(room)
    done = [row.message_id for row in room] + [row.message_id for row in direct if row.status != "sending"]
    events = await store.events.read(after=0, limit=500)
    assert sorted(event.row.message_id for event in events) == sorted(done)
    return done


async def cut(path, action, operations: int, rng: Random | None, *, together: bool = False, synchronous="full"):
    """Write until the cut. Gives the acknowledged, what a restart finds, and whether there was a cut at all."""
    acknowledged: list[str] = []

    async def one(store: Store, number: int) -> None:
        try:
            await action(store, number)
        except StorageError:
            return
        acknowledged.append(f"m{number}")

    await place(path)
    with PowerCutDisk("cut") as disk:
        async with Store.open(path, vfs="cut", exclusive=True) as store:
            if synchronous != "full":
                connection = store.database._writer._connection
                connection.pragma("synchronous", synchronous)
            disk.cut_after(operations)
            if together:
                async with trio.open_nursery() as nursery:
                    for number in range(MESSAGES):
                        nursery.start_soon(one, store, number)
            else:
                for number in range(MESSAGES):
                    await one(store, number)
            dead = disk.dead
            disk.cut_after(0)  # closing must not tidy up either
        disk.settle(rng)
    async with Store.open(path) as store:
        return acknowledged, await stored(store), dead


NONE, SOME = "none of the unsynced", "some of the unsynced"


@pytest.mark.parametrize(
    ("action", "together", "survivors"),
    [
        pytest.param(receive, False, NONE, marks=pytest.mark.slow),
        (receive, True, SOME),
        pytest.param(post, False, NONE, marks=pytest.mark.slow),
        pytest.param(post, True, SOME, marks=pytest.mark.slow),
        pytest.param(send, True, NONE, marks=pytest.mark.slow),
        pytest.param(receive, False, SOME, marks=pytest.mark.slow),
        pytest.param(receive, True, NONE, marks=pytest.mark.slow),
        pytest.param(post, False, SOME, marks=pytest.mark.slow),
        pytest.param(post, True, NONE, marks=pytest.mark.slow),
        pytest.param(send, False, NONE, marks=pytest.mark.slow),
        pytest.param(send, False, SOME, marks=pytest.mark.slow),
        pytest.param(send, True, SOME, marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
async def test_a_cut_at_every_operation(tmp_path, monkeypatch, action, together, survivors) -> None:
    monkeypatch.setattr(writer_module, "CHECKPOINT_PAGES", 8)  # so that cuts fall into the copying of the log too
    for operations in range(1000):
        rng = Random(operations) if survivors == SOME else None
        path = tmp_path / f"{operations}.sqlite"
        acknowledged, found, dead = await cut(path, action, operations, rng, together=together)
        assert set(acknowledged) <= set(found), f"lost after {operations} operations"
        assert len(found) == len(set(found))
        if not dead:
            break
    else:
        pytest.fail("the writing never got through")
    assert len(acknowledged) == MESSAGES
    assert operations > 10  # a commit takes about twenty, and the groups are as the threads happen to meet


async def test_the_disk_shows_what_a_missing_fsync_loses(tmp_path) -> None:
    """The harness can fail: without the fsync of each commit, acknowledged messages are lost."""
    lost = 0
    for operations in range(20, 60, 4):
        path = tmp_path / f"{operations}.sqlite"
        acknowledged, found, _ = await cut(path, receive, operations, None, synchronous="normal")
        lost += len(set(acknowledged) - set(found))
    assert lost > 0

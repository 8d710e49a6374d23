import pytest

from nexusd.store import Store
from nexusd.store.inbox import DmRow
from nexusd.store.paging import Appended
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import MessageId
from tests.harness.stores import opened
from tests.unit.store.people import ALICE, ALICES_SECOND, BOB, CAROL


async def receive(store: Store, number: int, *, agent=ALICE, peer=BOB, **fields):
    return await store.inbox.receive(
        agent, peer=peer, message_id=MessageId(f"d{number}"), content="psst", format="text/plain", now=100, **fields
    )


async def begin(store: Store, number: int, *, agent=ALICE, peer=BOB) -> int:
    return await store.inbox.begin_send(
        agent, peer=peer, message_id=MessageId(f"d{number}"), content="yes?", format="text/markdown", now=200
    )


async def test_what_is_received_comes_back(store) -> None:
    assert await receive(store, 1) == Appended(1, 1)
    assert (await store.inbox.list(ALICE, limit=10)).rows == [
        DmRow(
            peer=BOB,
            direction="in",
            message_id=MessageId("d1"),
            sender=AgentId(BOB),
            timestamp=100,
            content="psst",
            format="text/plain",
            status="received",
            position=1,
        )
    ]


async def test_a_message_that_comes_again_is_stored_once(store) -> None:
    assert await receive(store, 1)
    assert await receive(store, 1) is None
    assert await receive(store, 1, peer=CAROL)
    assert await receive(store, 1, agent=ALICES_SECOND)
    assert len((await store.inbox.list(ALICE, limit=10)).rows) == 2
    assert await store.events.newest() == 3


async def test_the_senders_agent_and_its_time_are_kept_where_they_are_given(store) -> None:
    await receive(store, 1, sender=ALICES_SECOND, timestamp=7)
    [row] = (await store.inbox.list(ALICE, limit=10)).rows
    assert (row.peer, row.sender, row.timestamp) == (BOB, ALICES_SECOND, 7)
    assert await receive(store, 1, sender=ALICES_SECOND) is None
    assert await receive(store, 1)


@pytest.mark.parametrize("status", ["stored", "unconfirmed", "failed"])
async def test_sending_ends_in_a_status_and_one_event(store, status) -> None:
    position = await begin(store, 1)
    [row] = (await store.inbox.list(ALICE, limit=10)).rows
    assert (row.status, row.direction, row.sender, row.timestamp) == ("sending", "out", ALICE, 200)
    assert await store.events.newest() == 0
    cursor = await store.inbox.finish_send(ALICE, position, status, now=300)
    [event] = await store.events.read(after=0, limit=10)
    assert (event.cursor, event.kind, event.type, event.at, event.peer) == (cursor, "dm", "message", 300, BOB)
    assert isinstance(event.row, DmRow)
    assert event.row.status == status


async def test_an_id_is_sent_once(store) -> None:
    await begin(store, 1)
    with pytest.raises(ValueError, match="sent before"):
        await begin(store, 1)


async def test_finishing_what_was_not_sent_is_a_mistake(store) -> None:
    received = await receive(store, 1)
    mine = await begin(store, 2)
    for agent, position in ((ALICE, received.position), (ALICES_SECOND, mine), (ALICE, 99)):
        with pytest.raises(LookupError):
            await store.inbox.finish_send(agent, position, "stored", now=1)
    assert await store.events.newest() == 1


async def test_an_agent_may_write_to_itself(store) -> None:
    await begin(store, 1, peer=ALICE)
    assert await receive(store, 1, peer=ALICE)


async def test_what_a_crash_left_sending_has_failed(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    async with opened(path) as store:
        done = await begin(store, 1)
        await store.inbox.finish_send(ALICE, done, "stored", now=250)
        await begin(store, 2)
        await begin(store, 3, peer=CAROL)
        await begin(store, 4, agent=ALICES_SECOND)
    async with opened(path) as store:
        assert await store.inbox.fail_unfinished(ALICE, now=300) == 2
        assert await store.inbox.fail_unfinished(ALICE, now=301) == 0
        statuses = [row.status for row in (await store.inbox.list(ALICE, limit=10)).rows]
        assert statuses == ["stored", "failed", "failed"]
        [other] = (await store.inbox.list(ALICES_SECOND, limit=10)).rows
        assert other.status == "sending"
        assert [event.peer for event in await store.events.read(after=1, limit=10)] == [BOB, CAROL]


async def test_whom_an_agent_has_written_to(store) -> None:
    await receive(store, 1, peer=BOB)
    await begin(store, 2, peer=CAROL)
    await receive(store, 3, peer=CAROL)
    await begin(store, 4, agent=ALICES_SECOND, peer=BOB)
    assert await store.inbox.correspondents(ALICE, 10) == {CAROL}
    assert await store.inbox.correspondents(ALICES_SECOND, 10) == {BOB}
    for number in range(10, 110):
        await receive(store, number, peer=CAROL)
    assert await store.inbox.correspondents(ALICE, 10) == set(), "a hundred messages without an answer"


async def test_conversations_are_paged_by_peer(store) -> None:
    for number in range(10):
        await receive(store, number, peer=BOB if number % 2 else CAROL)
    page = await store.inbox.list(ALICE, peer=BOB, limit=3)
    assert [row.message_id for row in page.rows] == ["d5", "d7", "d9"]
    assert page.more
    page = await store.inbox.list(ALICE, peer=BOB, before=page.rows[0].position, limit=3)
    assert [row.message_id for row in page.rows] == ["d1", "d3"]
    assert not page.more
    page = await store.inbox.list(ALICE, after=8, limit=3)
    assert [row.message_id for row in page.rows] == ["d8", "d9"]

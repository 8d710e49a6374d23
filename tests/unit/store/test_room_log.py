"""The log: what is kept, what is shown, in which order."""

from dataclasses import replace

import pytest

from nexusd.store.paging import PAGE_CHARS, Appended
from tests.unit.store.messages import HALL, LAB, edit, message, retract
from tests.unit.store.people import ALICE, ALICES_SECOND, BOB, CAROL


async def shown(store, **filters) -> list[str]:
    return [row.content for row in (await store.log.history(ALICE, LAB, limit=100, **filters)).rows]


async def test_a_message_comes_back_as_it_was(store) -> None:
    row = message(1, reply_to="m0", thread_id="t", references='["bafy"]', content="naïve 🙂 \x1b[31m\u0000end")
    appended = await store.log.append(ALICE, row, now=5)
    assert appended == Appended(1, 1)
    page = await store.log.history(ALICE, LAB, limit=10)
    assert page.rows == [replace(row, position=1)]


async def test_where_a_sender_refers_to_something(store) -> None:
    taken_back = message(4, room=HALL, references='["bafy"]')
    for row in (
        message(1, references='["m0", "bafy"]'),
        message(2, references='["bafy"]'),
        message(3, room=HALL, references='["bafyx"]'),
        taken_back,
        retract(5, taken_back),
        message(6, room=HALL, sender=CAROL, references='["bafy"]'),
    ):
        await store.log.append(ALICE, row, now=5)
    assert await store.log.referring(ALICE, BOB, "bafy", 9) == [LAB]
    assert await store.log.referring(ALICE, CAROL, "bafy", 9) == [HALL]
    assert await store.log.referring(ALICES_SECOND, BOB, "bafy", 9) == []


async def test_a_digest_is_kept_once(store) -> None:
    first = message(1)
    assert await store.log.append(ALICE, first, now=5)
    assert await store.log.append(ALICE, first, now=6) is None
    assert await store.log.append_many([(ALICE, first), (ALICE, message(2)), (ALICE, message(2))], now=7) == [
        None,
        Appended(2, 2),
        None,
    ]
    assert await store.log.count(ALICE, LAB) == 2
    assert await store.events.newest() == 2


@pytest.mark.parametrize("lower_first", [True, False])
async def test_of_two_messages_with_one_sender_and_id_both_are_kept_and_the_lower_digest_is_shown(
    store, lower_first
) -> None:
    lower, higher = sorted((message(1), message(1, salt="other")), key=lambda row: row.digest)
    lower, higher = replace(lower, content="lower"), replace(higher, content="higher")
    pair = [lower, higher] if lower_first else [higher, lower]
    appended = [await store.log.append(ALICE, row, now=5) for row in pair]
    assert [result.cursor for result in appended] == ([1, 0] if lower_first else [1, 2])
    assert await shown(store) == ["lower"]
    assert await store.log.count(ALICE, LAB) == 1
    assert set(await store.log.signed(ALICE, LAB, [lower.digest, higher.digest])) == {lower.digest, higher.digest}
    assert [row.content for row in await store.log.versions(ALICE, LAB, lower.message_id)] == ["lower", "higher"]
    assert [row.content for row in (await store.log.search(ALICE, LAB, "lower OR higher", limit=5)).rows] == []
    assert [len((await store.log.search(ALICE, LAB, word, limit=5)).rows) for word in ("lower", "higher")] == [1, 0]


async def test_when_the_shown_one_goes_the_next_digest_is_shown(store) -> None:
    three = sorted((message(1, salt=salt) for salt in "abc"), key=lambda row: row.digest)
    await store.log.append_many([(ALICE, replace(row, content=row.digest.hex())) for row in three], now=5)
    for gone, then in zip(three, [*three[1:], None], strict=True):
        await store.log.bury(ALICE, LAB, [(gone.timestamp, gone.digest)], "unwanted", now=6)
        assert await shown(store) == ([then.digest.hex()] if then else [])
        assert await store.log.count(ALICE, LAB) == (then is not None)
    assert await store.log.log_bytes(ALICE, LAB) == 0


async def test_the_same_id_of_another_sender_room_or_agent_is_another_message(store) -> None:
    others = [
        (ALICE, message(1)),
        (ALICE, message(1, sender=CAROL)),
        (ALICE, message(1, room=HALL)),
        (ALICES_SECOND, message(1)),
    ]
    appended = await store.log.append_many([*others, *others], now=5)
    assert [result and result.position for result in appended] == [1, 2, 3, 4, None, None, None, None]
    assert await store.log.count(ALICE, LAB) == 2
    assert await store.log.count(ALICES_SECOND, LAB) == 1
    assert await store.log.count(ALICES_SECOND, HALL) == 0


async def test_history_is_paged_both_ways(store) -> None:
    await store.log.append_many(
        [(ALICE, message(number, room=room)) for number in range(10) for room in (LAB, HALL)], now=5
    )
    newest = await store.log.history(ALICE, LAB, limit=3)
    assert [row.message_id for row in newest.rows] == ["m7", "m8", "m9"]
    assert newest.more
    older = await store.log.history(ALICE, LAB, before=newest.rows[0].position, limit=100)
    assert [row.message_id for row in older.rows] == [f"m{number}" for number in range(7)]
    assert not older.more
    newer = await store.log.history(ALICE, LAB, after=older.rows[-1].position, limit=2)
    assert [row.message_id for row in newer.rows] == ["m7", "m8"]
    assert newer.more
    assert (await store.log.history(ALICES_SECOND, LAB, limit=3)).rows == []


async def test_a_page_of_large_messages_is_short(store) -> None:
    large = "x" * (PAGE_CHARS // 2)
    await store.log.append_many([(ALICE, message(number, content=large)) for number in range(5)], now=5)
    page = await store.log.history(ALICE, LAB, limit=50)
    assert [row.message_id for row in page.rows] == ["m3", "m4"]
    assert page.more


async def test_many_appends_are_one_commit(store) -> None:
    before = store.database.commits
    await store.log.append_many([(ALICE, message(number)) for number in range(100)], now=5)
    assert store.database.commits == before + 1


async def test_room_order_is_by_date_and_digest_and_not_by_arrival(store) -> None:
    rows = [message(number) for number in (3, 1, 2)]
    same = sorted((message(4, salt=salt) for salt in "ab"), key=lambda row: row.digest)
    same = [replace(row, message_id=f"s{at}", content=f"same {at}") for at, row in enumerate(same)]
    await store.log.append_many([(ALICE, row) for row in [*reversed(same), *rows]], now=5)
    assert await shown(store) == ["text 1", "text 2", "text 3", "same 0", "same 1"]
    newest = await store.log.history(ALICE, LAB, limit=2)
    assert [row.content for row in newest.rows] == ["same 0", "same 1"]
    assert await shown(store, before=newest.rows[0].position) == ["text 1", "text 2", "text 3"]
    assert await shown(store, after=newest.rows[0].position) == ["same 1"]
    assert await shown(store, after=0) == ["text 1", "text 2", "text 3", "same 0", "same 1"]


async def test_history_by_date_author_and_thread(store) -> None:
    rows = [
        message(number, sender=(BOB, CAROL)[number % 2], thread_id="t" if number % 3 == 0 else "")
        for number in range(12)
    ]
    await store.log.append_many([(ALICE, row) for row in rows], now=5)

    def texts(*numbers: int) -> list[str]:
        return [f"text {number}" for number in numbers]

    assert await shown(store, since=1004, until=1007) == texts(4, 5, 6)
    assert await shown(store, since=1012) == await shown(store, until=1000) == []
    assert await shown(store, author=CAROL) == texts(1, 3, 5, 7, 9, 11)
    assert await shown(store, thread="t") == texts(0, 3, 6, 9)
    assert await shown(store, thread="t", author=CAROL) == texts(3, 9)
    assert await shown(store, thread="t", author=CAROL, since=1004, until=2000) == texts(9)
    assert await shown(store, thread="") == []
    page = await store.log.history(ALICE, LAB, author=CAROL, limit=2)
    assert page.more
    assert [row.content for row in page.rows] == texts(9, 11)
    older = await store.log.history(ALICE, LAB, author=CAROL, before=page.rows[0].position, since=1002, limit=2)
    assert [row.content for row in older.rows] == texts(5, 7)


async def test_a_page_begins_at_a_message_of_the_room(store) -> None:
    await store.log.append_many([(ALICE, message(1)), (ALICE, message(1, room=HALL))], now=5)
    for place in ({"after": 2}, {"before": 2}, {"after": 3}, {"before": 0}):
        with pytest.raises(LookupError):
            await store.log.history(ALICE, LAB, limit=1, **place)


async def test_the_newest_edit_of_the_author_is_shown_whatever_came_first(store) -> None:
    said = message(1)
    revisions = [edit(2, said, "second"), edit(3, said, "third"), edit(4, said, "mallory's", sender=CAROL)]
    await store.log.append(ALICE, revisions[1], now=5)
    await store.log.append(ALICE, said, now=6)
    assert await shown(store) == ["third"]
    await store.log.append_many([(ALICE, revisions[0]), (ALICE, revisions[2])], now=7)
    (row,) = (await store.log.history(ALICE, LAB, limit=9)).rows
    assert (row.content, row.edited_at, row.retracted_at, row.digest) == ("third", 1003, 0, said.digest)
    kept = await store.log.versions(ALICE, LAB, said.message_id)
    assert [row.content for row in kept] == ["text 1", "second", "third"]
    assert await store.log.count(ALICE, LAB) == 1


async def test_what_was_retracted_has_no_text_and_no_edit_brings_it_back(store) -> None:
    said = message(1)
    await store.log.append_many(
        [(ALICE, row) for row in (said, retract(2, said, sender=CAROL), edit(3, said, "new"))], now=5
    )
    assert await shown(store) == ["new"]
    await store.log.append_many([(ALICE, retract(4, said)), (ALICE, edit(5, said, "newer"))], now=6)
    (row,) = (await store.log.history(ALICE, LAB, limit=9)).rows
    assert (row.content, row.retracted_at) == ("", 1004)
    assert [row.kind for row in await store.log.versions(ALICE, LAB, said.message_id)] == [
        "chat",
        "edit",
        "retract",
        "edit",
    ]


async def test_each_kind_has_its_event_with_the_message_as_it_is_now(store) -> None:
    said = message(1)
    rows = [said, edit(2, said, "new"), retract(3, said), message(4, kind="meta")]
    await store.log.append_many([(ALICE, row) for row in rows], now=5)
    events = await store.events.read(after=0, limit=10)
    assert [event.type for event in events] == ["message", "edited", "retracted", "meta"]
    assert [event.row.content for event in events] == ["", "new", "", "text 4"]
    assert [event.row.target for event in events] == ["", "m1", "m1", ""]


async def test_what_is_buried_goes_and_does_not_come_back(store) -> None:
    rows = [message(1), message(2)]
    await store.log.append(ALICE, rows[0], now=5)
    await store.log.bury(ALICE, LAB, [(row.timestamp, row.digest) for row in rows], "quota_exceeded", now=6)
    assert await store.log.append_many([(ALICE, row) for row in rows], now=7) == [None, None]
    assert await shown(store) == []
    assert await store.log.signed(ALICE, LAB, [row.digest for row in rows]) == {}
    assert await store.log.count(ALICE, LAB) == await store.log.log_bytes(ALICE, LAB) == 0
    (event,) = await store.events.read(after=0, limit=10)
    assert event.row is None


async def test_an_edit_that_is_buried_gives_the_old_text_back(store) -> None:
    said = message(1)
    revision = edit(2, said, "new")
    await store.log.append_many([(ALICE, said), (ALICE, revision)], now=5)
    await store.log.bury(ALICE, LAB, [(revision.timestamp, revision.digest)], "unwanted", now=6)
    assert await shown(store) == ["text 1"]
    assert len((await store.log.search(ALICE, LAB, "text", limit=9)).rows) == 1


async def test_what_is_older_than_the_horizon_is_forgotten_in_steps(store, monkeypatch) -> None:
    monkeypatch.setattr("nexusd.store.room_log.EXPIRED_AT_ONCE", 3)
    rows = [message(number) for number in range(10)]
    await store.log.append_many([(ALICE, row) for row in rows], now=5)
    await store.log.bury(ALICE, LAB, [(1001, rows[1].digest), (1002, b"\1" * 32)], "unwanted", now=6)
    assert await store.log.expire(ALICE, LAB, 1007) == 8
    assert await shown(store) == ["text 7", "text 8", "text 9"]
    assert await store.log.log_bytes(ALICE, LAB) == sum(len(row.signed) for row in rows[7:])
    assert (await store.rooms.get(ALICE, LAB)).horizon == 1007
    assert [row.content for row in (await store.log.search(ALICE, LAB, "text", limit=20)).rows] == await shown(store)
    assert await store.log.expire(ALICE, LAB, 1000) == 0
    assert (await store.rooms.get(ALICE, LAB)).horizon == 1007


async def test_signed_messages_are_had_by_digest_of_one_room_and_agent(store) -> None:
    rows = [message(1), message(2), message(1, room=HALL)]
    await store.log.append_many([(ALICE, row) for row in rows], now=5)
    wanted = [*(row.digest for row in rows), b"\0" * 32]
    assert await store.log.signed(ALICE, LAB, wanted) == {row.digest: row.signed for row in rows[:2]}
    assert await store.log.signed(ALICES_SECOND, LAB, wanted) == {}
    places = [*((row.timestamp, row.digest) for row in rows), (999, rows[0].digest)]
    assert await store.log.signed_at(ALICE, LAB, places) == {row.digest: row.signed for row in rows[:2]}
    assert await store.log.signed_at(ALICES_SECOND, LAB, places) == {}


async def test_digests_that_begin_alike_are_told_apart(store) -> None:
    one, two = (replace(message(number), digest=b"8 bytes." + bytes([number]) * 24) for number in (1, 2))
    await store.log.append_many([(ALICE, one), (ALICE, two)], now=5)
    assert await store.log.signed(ALICE, LAB, [two.digest]) == {two.digest: two.signed}
    assert await store.log.signed(ALICE, LAB, [b"8 bytes." + bytes(24)]) == {}


async def test_what_is_refused_takes_nothing_away(store) -> None:
    here, other, gone = message(1), message(2), message(3)
    await store.log.append_many([(ALICE, here), (ALICE, gone)], now=5)
    await store.log.bury(ALICE, LAB, [(gone.timestamp, gone.digest)], "unwanted", now=6)
    items = [(row.timestamp, row.digest) for row in (here, other, gone)]
    assert await store.log.refuse(ALICE, LAB, items, "quota_exceeded", now=7) == 1
    assert await shown(store) == ["text 1"]
    assert await store.log.tombstones(ALICE, LAB) == 2
    assert [await store.log.knows(ALICE, LAB, *item) for item in items] == [True, True, True]
    assert not await store.log.knows(ALICE, LAB, here.timestamp, other.digest)
    assert await store.log.append(ALICE, other, now=8) is None


async def test_others_crowd_nobody_out_of_the_versions_of_a_message(store, monkeypatch) -> None:
    monkeypatch.setattr("nexusd.store.room_log.VERSIONS", 5)
    said = message(9)
    others = [replace(message(1, sender=f"mallory {n}", salt=f"{n}"), message_id=said.message_id) for n in range(6)]
    crowd = [replace(edit(20 + n, said, "no"), sender="mallory 1") for n in range(6)]
    rows = [*others, *crowd, said, retract(30, said)]
    assert len({row.digest for row in rows}) == len(rows)
    await store.log.append_many([(ALICE, row) for row in rows], now=5)
    found = await store.log.versions(ALICE, LAB, said.message_id, sender=said.sender)
    assert [row.kind for row in found] == ["chat", "retract"]
    assert len(await store.log.versions(ALICE, LAB, said.message_id)) == 5

"""No query that pages or looks up reads a whole table, or sorts what an index has in order."""

import re

import pytest

from nexusd.store import events, inbox, invocations, peers, room_batches, room_index, room_log, room_scribe, room_spans
from nexusd.store.ledger import charge_rows, ledger, metering, purchase_rows, purchases, settlements, standings

QUERIES = {
    "history forward": room_log.HISTORY[0],
    "history backward": room_log.HISTORY[1],
    "history of a sender forward": room_log.BY_SENDER[0],
    "history of a sender backward": room_log.BY_SENDER[1],
    "a thread forward": room_log.IN_THREAD[0],
    "a thread backward": room_log.IN_THREAD[1],
    "a sender in a thread": room_log.BY_SENDER_IN_THREAD[1],
    "a place in a room": room_log.PLACE,
    "the leader of an id": room_scribe.LEADER,
    "the next of an id": room_scribe.FOLLOWER,
    "a known item": room_scribe.FIND,
    "whether there is a revision": room_scribe.REVISED,
    "what is shown of a message": room_scribe.SHOWN,
    "the oldest items": room_scribe.OLDEST,
    "items of an index": room_index.ITEMS,
    "batches of an index": room_index.BATCHES,
    "spans": room_index.SPANS,
    "the span of a place": room_spans.AT,
    "the span behind a place": room_spans.NEXT,
    "keys of a span": room_index.KEYS,
    "signed messages": room_log.SIGNED_AT,
    "rooms where something is referred to": room_log.REFERRING,
    "unsealed hours": room_batches.DIRTY,
    "messages of an hour": room_batches.SIGNED,
    "batches": room_batches.REFS,
    "days": room_batches.DAYS,
    "inbox forward": inbox.ALL.forward,
    "inbox backward": inbox.ALL.backward,
    "conversation forward": inbox.WITH_PEER.forward,
    "conversation backward": inbox.WITH_PEER.backward,
    "a charge": charge_rows.BY_KEY,
    "sums of a payer": charge_rows.SUMS,
    "charges forward": ledger.ALL.forward,
    "charges backward": ledger.ALL.backward,
    "charges at work": ledger.AT_WORK,
    "charges to forget": ledger.TO_FORGET,
    "charges that were left reserved": ledger.LEFT_RESERVED,
    "charges that nobody is asked about": ledger.UNASKED,
    "charges that can be asked about at last": ledger.ASKED_AT_LAST,
    "charges to drop": ledger.TO_DROP,
    "owed by a peer": charge_rows.OWED_BY_PEER,
    "charges of an agent": ledger.TOTALS,
    "tabs of a call": ledger.OF_CALL,
    "what a peer settled": standings.SETTLED,
    "offences of a peer": standings.BY_PEER,
    "offences of an account": standings.BY_PAYER,
    "charges due": settlements.DUE,
    "charges unsure": settlements.UNSURE,
    "transactions of a charge": settlements.OF_CHARGE,
    "transactions of an account": settlements.OF_ACCOUNT,
    "a purchase": purchase_rows.BY_ID,
    "what is spent": purchase_rows.SPENT,
    "what was given back": purchase_rows.RETURNED,
    "whether a payee is known": purchase_rows.PAID_BEFORE,
    "tabs of a purchase": purchase_rows.TABS,
    "purchases forward": purchases.ALL.forward,
    "purchases backward": purchases.ALL.backward,
    "purchases with a receipt, forward": purchases.RECEIVED.forward,
    "purchases with a receipt, backward": purchases.RECEIVED.backward,
    "purchases that wait": purchases.WAITING,
    "unsigned purchases": purchases.UNSIGNED,
    "overdue purchases": purchases.OVERDUE,
    "doubted purchases": purchases.DOUBTED,
    "purchases whose ids begin alike": purchases.FITTING,
    "a meter": metering.FIND,
    "meters of days": metering.BY_DAY,
    "the oldest meters": metering.OLDEST,
    "invocations to forget": invocations.UNPAID,
    "invocations forward": invocations.ALL.forward,
    "invocations backward": invocations.ALL.backward,
    "events": events.ALL,
    "events of a kind": events.OF_KIND,
    "events of a room": events.OF_ROOM,
    "events of a peer": events.OF_PEER,
    "events of a room and peer": events.OF_ROOM_AND_PEER,
    "rows of room events": events._ROWS["room"][0],
    "rows of dm events": events._ROWS["dm"][0],
    "rows of invoke events": events._ROWS["invoke"][0],
    "a peer": peers.PEER_SELECT + " WHERE peers.peer = ?",
    "unfinished": "SELECT position FROM direct_messages WHERE agent = ? AND status = 'sending' ORDER BY position",
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
async def test_pages_come_from_an_index_in_order(store, query) -> None:
    plan = await plan_of(store, query)
    assert plan
    assert not [step for step in plan if "SCAN" in step and "json_each" not in step], plan
    assert not [step for step in plan if "TEMP B-TREE FOR ORDER BY" in step], plan


async def test_the_peer_list_walks_its_index(store) -> None:
    plan = await plan_of(store, peers.NEWEST)
    assert plan[0] == "SCAN peers USING INDEX peers_by_last_seen"  # in order, and stopped by its limit
    assert not [step for step in plan if "TEMP B-TREE" in step]


async def test_correspondents_go_from_peer_to_peer_by_the_index(store) -> None:
    plan = await plan_of(store, inbox.CORRESPONDENTS)
    assert {step for step in plan if "direct_messages" in step} == {
        "SEARCH direct_messages USING COVERING INDEX direct_messages_by_peer (agent=?)",
        "SEARCH direct_messages USING COVERING INDEX direct_messages_by_peer (agent=? AND peer>?)",
        "SEARCH direct_messages USING INDEX direct_messages_by_peer (agent=? AND peer=?)",
    }
    assert not [step for step in plan if "TEMP B-TREE" in step]


async def test_the_summary_reads_one_agents_rows_in_order(store) -> None:
    plan = await plan_of(store, invocations.USAGE)
    assert "USING INDEX invocations_by_use (agent=?)" in plan[0]


async def plan_of(store, query: str) -> list[str]:
    bindings = (None,) * len(set(re.findall(r"\?\d", query)) or query.count("?") * "?")
    return await store.database.read(
        lambda connection: [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + query, bindings)]
    )

"""Stores as released versions left them, and what is in each."""

from __future__ import annotations

from pathlib import Path

from nexusd.store import Store
from nexusd_protocols.chatsync.index import Key
from nexusd_protocols.ids import CapabilityName, MessageId
from tests.unit.store.messages import HALL, LAB, invocation, message
from tests.unit.store.people import ALICE, BOB, CAROL, MALLORY

FIXTURES = Path(__file__).parents[2] / "fixtures"
ALL = Key(0, b""), Key(1 << 60, b"")


async def populate(store: Store) -> None:
    """What each fixture `store-vN.sqlite` holds: made by running this on the program that had version N."""
    await store.settings.set_many({"port": "4001", "role": "full"})
    await store.settings.set("profile", '{"displayName":"alice"}', agent=ALICE)
    await store.rooms.join(ALICE, LAB, 100)
    await store.rooms.join(ALICE, HALL, 101)
    await store.log.append(ALICE, message(1, content="hello", references='["bafy"]', thread_id="t"), now=102)
    await store.log.append(ALICE, message(2, sender=CAROL, reply_to="m1"), now=103)
    await store.rooms.leave(ALICE, HALL, 104)
    await store.inbox.receive(ALICE, peer=BOB, message_id=MessageId("d1"), content="psst", format="text/plain", now=105)
    sent = await store.inbox.begin_send(
        ALICE, peer=BOB, message_id=MessageId("d2"), content="yes?", format="text/markdown", now=106
    )
    await store.inbox.finish_send(ALICE, sent, "stored", now=107)
    await store.inbox.begin_send(
        ALICE, peer=CAROL, message_id=MessageId("d3"), content="lost", format="text/plain", now=108
    )
    await store.peers.seen(BOB, addresses=["/ip4/192.0.2.1/tcp/4001"], source="mdns", now=109)
    await store.peers.identified(BOB, "nexusd/0.1.0", 110)
    await store.peers.named(BOB, "bob", 111)
    await store.peers.block(MALLORY, "spam", 112)
    await store.capabilities.put(ALICE, CapabilityName("upper"), '{"argv":["tr","a-z","A-Z"]}', 113)
    await store.invocations.record(ALICE, invocation(1))
    await store.invocations.record(ALICE, invocation(2, direction="out", outcome="timeout"))


async def everything(store: Store) -> dict[str, object]:
    return {
        "settings": [await store.settings.get(key) for key in ("port", "role", "absent")],
        "profile": await store.settings.get("profile", agent=ALICE),
        "rooms": await store.rooms.joined(ALICE),
        "history": await store.log.history(ALICE, LAB, limit=10),
        "found": await store.log.search(ALICE, LAB, "hello", limit=10),
        "known": await store.log.read_index(ALICE, LAB, lambda index: index.items(*ALL, 10)),
        "summary": await store.log.read_index(ALICE, LAB, lambda index: index.summary(*ALL)),
        "unsealed": await store.batches.dirty_hours(ALICE, LAB, 1 << 40, 10),
        "inbox": await store.inbox.list(ALICE, limit=10),
        "peers": await store.peers.list(10),
        "blocked": await store.peers.blocked(),
        "capabilities": await store.capabilities.list(ALICE),
        "invocations": await store.invocations.list(ALICE, limit=10),
        "usage": await store.invocations.summary(ALICE),
        "metering": await store.metering.sums(ALICE),
        "events": await store.events.read(after=0, limit=50),
        "newest": await store.events.newest(),
    }

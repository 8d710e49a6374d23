"""A room with a past: messages of many authors over many days, on a host's disk before it starts."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path

from nexusd.services.rooms.views import stored
from nexusd.store.room_rows import RoomRow
from nexusd_protocols.identity import AgentId, Signer
from nexusd_protocols.ids import RoomId, uuid7
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.room import message as wire
from nexusd_protocols.room.topics import room_topic
from tests.harness.nodes import signer
from tests.harness.stores import opened

STORE_FILE = "nexusd.sqlite"
HOUR_MS = 3_600_000


def said(
    author: Signer, room: str, content: str, timestamp: int, number: int, references: Sequence[str] = ()
) -> SignedMessage:
    """A chat message as its author signed it."""
    data = wire.chat(
        topic=room_topic(RoomId(room)),
        sender=author.peer_id,
        message_id=uuid7(timestamp, number.to_bytes(10, "big")),
        timestamp=timestamp,
        content=content,
        references=references,
    )
    return SignedMessage.sign(author, room_topic(RoomId(room)), data, number + 1)


def past(room: str, count: int, end: int, *, hours: int, authors: int = 20, seed: int = 1) -> Iterator[RoomRow]:
    """So many messages, spread evenly over the hours before `end` (unix milliseconds)."""
    choose = random.Random(seed)
    people = [signer(f"author-{number}") for number in range(authors)]
    for number in range(count):
        timestamp = end - hours * HOUR_MS + number * hours * HOUR_MS // count
        content = f"message {number} of the past, as long as people write: {choose.getrandbits(400):x}"
        message = said(choose.choice(people), room, content, timestamp, number)
        read = wire.read(message.topic, message.data, message.sender, timestamp)
        assert isinstance(read, wire.RoomMessage)
        yield stored(RoomId(room), message, message.encode(), read, timestamp)


async def remember(homes: Mapping[AgentId, Path], rows: Iterable[RoomRow], now: int) -> None:
    """Put them on the disks of hosts that do not run."""
    async with AsyncExitStack() as stack:
        stores = {}
        for agent, home in homes.items():
            home.mkdir(mode=0o700, exist_ok=True, parents=True)
            stores[agent] = await stack.enter_async_context(opened(home / STORE_FILE))
        left = iter(rows)
        while part := list(islice(left, 2000)):
            for agent, store in stores.items():
                await store.log.append_many([(agent, row) for row in part], now=now)

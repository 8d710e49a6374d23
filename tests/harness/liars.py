"""Peers that say of a room's history what a test likes, over the frames of chat-sync."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nexusd_protocols.chatsync import codec
from nexusd_protocols.chatsync.frames import Compare, Head, Headed, Messages, Open, Opened, Put, Took, Want
from nexusd_protocols.chatsync.index import Item
from nexusd_protocols.chatsync.ranges import Batches, Items, Ranges
from nexusd_protocols.chatsync.stream import SyncResponder
from nexusd_protocols.content.cid import DAG_CBOR, Cid
from nexusd_protocols.history.batch import BatchRef

Offer = Callable[[Ranges], Ranges]
"""What is said to be known of the ranges that were asked about."""
Give = Callable[[Want], Sequence[Messages]]
"""What comes of what is wanted."""


class Loose(SyncResponder):
    """Says whatever it is told to."""

    def send(self, command: Any) -> bytes:
        self._request, self._opened = None, True
        return codec.encode(command)


async def lie(channel: Any, offer: Offer, give: Give) -> None:
    """Answer one session with what is given here, whatever was asked."""
    while (request := await channel.receive()) is not None:
        match request:
            case Open():
                await channel.send(Opened(0, None, 1))
            case Compare(ranges=ranges):
                await channel.send(Compare(offer(ranges)))
            case Want():
                for frame in give(request):
                    await channel.send(frame)
            case Head():
                await channel.send(Headed(Cid.of(DAG_CBOR, b"another"), 150))
            case Put(messages=messages):
                await channel.send(Took(len(messages), ()))


def offering(*items: Item) -> Offer:
    """These messages are known."""
    return lambda asked: Ranges(asked.lower, (Items(asked.upper, tuple(sorted(items))),))


def naming(*refs: BatchRef) -> Offer:
    """All that is known is in these batches."""
    return lambda asked: Ranges(asked.lower, (Batches(asked.upper, refs),))


def giving(*raws: bytes) -> Give:
    """These, whatever was wanted."""
    return lambda want: [Messages(raws, (), last=True)]


def nothing(want: Want) -> Sequence[Messages]:
    """Nothing of it is here."""
    return [Messages((), want.digests, last=True)]

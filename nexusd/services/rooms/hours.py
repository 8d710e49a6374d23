"""The batches of an hour, made part by part: somebody may say a million things in one.

places of its messages -> cut by number and size -> each part read -> batch -> handed on before the next is made
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from nexusd.services.rooms.joined import Joined
from nexusd.store import Store
from nexusd.store.room_batches import place_of
from nexusd_protocols import limits
from nexusd_protocols.content.block import Block
from nexusd_protocols.history.batch import BatchRef, cut, make_batch

HANDED_ON_BYTES: Final = 4 * limits.MIB
"""Of batches together: one commit of theirs."""


@dataclass(frozen=True, slots=True)
class Hour:
    """The batches of an hour; `changes` is the state of the hour that they were made of."""

    refs: list[BatchRef]
    changes: int


async def nothing(_: Sequence[Block]) -> None:
    """For who wants to know the names only."""
    await trio.lowlevel.checkpoint()


async def batches_of(
    store: Store, joined: Joined, hour: int, hand_on: Callable[[Sequence[Block]], Awaitable[object]]
) -> Hour | None:
    """Make the batches of what is held of an hour. None if that changed meanwhile: then some were handed on that are
    of no use. Raises StorageError, and what `hand_on` does."""
    agent, room = joined.agent.id, joined.room
    held = await store.batches.places_of_hour(agent, room, hour)
    refs: list[BatchRef] = []
    made: list[Block] = []
    size = 0
    for part, places in enumerate(cut(map(place_of, held.packed), lambda place: place.size)):
        signed = await store.log.signed_at(agent, room, [(place.timestamp, place.digest) for place in places])
        if len(signed) != len(places):
            return None
        ref, block = make_batch(room, hour, part, [signed[place.digest] for place in places])
        refs.append(ref)
        made.append(block)
        size += len(block.data)
        if size >= HANDED_ON_BYTES:
            await hand_on(made)
            made, size = [], 0
    await hand_on(made)
    return Hour(refs, held.changes)

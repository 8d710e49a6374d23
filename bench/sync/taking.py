"""Messages taken in: decoded, verified, read and committed in groups, beside nothing but the verifying."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import nacl.bindings
import trio

from bench.sync.past import rows
from nexusd.services.rooms.intake import Brought
from nexusd.store import Store
from nexusd_protocols.identity import public_key_of
from nexusd_protocols.pubsub.signed import SIGNING_PREFIX, SignedMessage
from tests.harness.members import Member, World, contexts

_SIGNATURE_FIELD = 66
"""What follows, in a message, what was signed."""


def verify_rate(messages: Sequence[bytes]) -> float:
    """Signatures that the library verifies in a second, on one core, with all else done before."""
    ready = []
    for raw in messages:
        message = SignedMessage.decode(raw)
        signed = SIGNING_PREFIX + raw[:-_SIGNATURE_FIELD]
        ready.append((message.signature + signed, public_key_of(message.sender)))
    began = time.perf_counter()
    for signature_and_message, key in ready:
        nacl.bindings.crypto_sign_open(signature_and_message, key)  # raises for what was not signed
    return len(ready) / (time.perf_counter() - began)


async def taking_rate(member: Member, messages: Sequence[bytes]) -> float:
    """Messages that a member takes in a second, from bytes that somebody brought to the disk."""
    began = time.perf_counter()
    taken = await member.intake.take(member.joined, map(Brought, messages))
    rate = len(messages) / (time.perf_counter() - began)
    assert taken.stored == len(messages), (taken.known, taken.refused[:3])
    return rate


async def rates(logs: Mapping[str, Path], count: int, rounds: int) -> list[dict[str, float]]:
    """`verify`, and the rate of each log, in turn. A log is of the member that its file is named for, and grows by
    `count` messages each round."""
    found = []
    async with trio.open_nursery() as nursery, contexts([Store.open(path) for path in logs.values()]) as stores:
        members = {
            name: Member(path.stem, store, World(nursery))
            for (name, path), store in zip(logs.items(), stores, strict=True)
        }
        for number in range(rounds):
            messages = [row.signed for row in rows(count, 1_000_000 + number)]
            rate = {"verify": verify_rate(messages)}
            for name, member in members.items():
                rate[name] = await taking_rate(member, messages)
            found.append(rate)
        nursery.cancel_scope.cancel()
    return found

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


Rates = tuple[float, float]
"""Messages a second by the clock, and by the processor time that they took."""


def verify_rate(messages: Sequence[bytes]) -> Rates:
    """Signatures that the library verifies, with all else done before."""
    ready = []
    for raw in messages:
        message = SignedMessage.decode(raw)
        signed = SIGNING_PREFIX + raw[:-_SIGNATURE_FIELD]
        ready.append((message.signature + signed, public_key_of(message.sender)))
    began, used = time.perf_counter(), time.process_time()
    for signature_and_message, key in ready:
        nacl.bindings.crypto_sign_open(signature_and_message, key)  # raises for what was not signed
    return len(ready) / (time.perf_counter() - began), len(ready) / (time.process_time() - used)


async def taking_rate(member: Member, messages: Sequence[bytes]) -> Rates:
    """Messages that a member takes, from bytes that somebody brought to the disk."""
    began, used = time.perf_counter(), time.process_time()
    taken = await member.intake.take(member.joined, map(Brought, messages))
    rates = len(messages) / (time.perf_counter() - began), len(messages) / (time.process_time() - used)
    assert taken.stored == len(messages), (taken.known, taken.refused[:3])
    return rates


async def rates(logs: Mapping[str, Path], count: int, rounds: int) -> list[dict[str, Rates]]:
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

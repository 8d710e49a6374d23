"""Peers that lie about ranges: bounded work, and a refusal that has a name (specs/chat-sync.md §3.4)."""

from __future__ import annotations

from random import Random

import pytest

from nexusd_protocols import limits
from nexusd_protocols.chatsync.index import EMPTY, Item, Key, MemoryIndex
from nexusd_protocols.chatsync.ranges import Batches, Fingerprint, Items, Ranges, Skip
from nexusd_protocols.chatsync.reconcile import Initiator, answer
from nexusd_protocols.errors import RemoteProtocolError
from tests.harness.chatsync import END, START, messages


def attacked(
    responder, *, initiator: Initiator | None = None, mine: MemoryIndex | None = None
) -> tuple[int, list[Item], str]:
    """Play an initiator against a responder that says what it likes: rounds, needs, and how it was refused."""
    mine = MemoryIndex() if mine is None else mine
    initiator = initiator or Initiator()
    request: Ranges | None = initiator.open(mine, START, END, [])
    needs: list[Item] = []
    for rounds in range(10_000):
        if request is None:
            return rounds, needs, ""
        try:
            step = initiator.handle(responder(request), mine)
        except RemoteProtocolError as error:
            return rounds, needs, error.code
        needs += step.needs
        request = step.request
    raise AssertionError("it never ends")


def test_a_million_fake_ids_end_in_a_bounded_number_of_needs():
    rng = Random(13)

    def responder(request: Ranges) -> Ranges:
        fake = tuple(sorted(Item(request.lower.timestamp + 1 + n, rng.randbytes(32)) for n in range(1700)))
        rest = Fingerprint(request.upper, 1_000_000, rng.randbytes(16))
        return Ranges(request.lower, (Items(Key(fake[-1].timestamp + 1, b""), fake), rest))

    initiator = Initiator()
    rounds, needs, refused = attacked(responder, initiator=initiator)
    assert not refused  # the want, which nobody can answer, is what shows it: see test_stream
    assert not initiator.complete
    assert rounds == 10
    assert len(needs) <= limits.SYNC_NEEDS + 1700


def test_ranges_that_nest_for_ever_are_refused():
    rng = Random(14)

    def responder(request: Ranges) -> Ranges:
        upper = Key(request.upper.timestamp - 1, b"")
        return Ranges(
            request.lower,
            (Fingerprint(upper, 10**6, rng.randbytes(16)), Fingerprint(request.upper, 0, EMPTY.fingerprint)),
        )

    mine = MemoryIndex(messages(1, Random(1)))
    rounds, needs, refused = attacked(responder, mine=mine)
    assert refused == "endless_ranges"
    assert rounds <= 40
    assert needs == []


def test_ranges_that_become_ever_more_are_refused():
    rng = Random(15)

    def responder(request: Ranges) -> Ranges:
        said: list = []
        for lower, each in request:
            if isinstance(each, Skip) or len(said) > 1600:
                said.append(Skip(each.upper))
                continue
            step = max(1, (each.upper.timestamp - lower.timestamp) // 1600)
            said += [Fingerprint(Key(lower.timestamp + step * n, b""), 99, rng.randbytes(16)) for n in range(1, 1600)]
            said.append(Fingerprint(each.upper, 99, rng.randbytes(16)))
        return Ranges(request.lower, tuple(said))

    rounds, _, refused = attacked(responder, mine=MemoryIndex(messages(5000, Random(1))))
    assert refused == "too_many_pending"
    assert rounds <= 40


def test_a_responder_that_always_has_one_more_is_left_after_so_many_rounds():
    rng = Random(16)

    def responder(request: Ranges) -> Ranges:
        at = request.lower.timestamp + 1
        one = Items(Key(at + 1, b""), (Item(at, rng.randbytes(32)),))
        return Ranges(request.lower, (one, Fingerprint(request.upper, 7, rng.randbytes(16))))

    initiator = Initiator()
    rounds, needs, refused = attacked(responder, initiator=initiator)
    assert (rounds, len(needs), refused) == (limits.SYNC_ROUNDS - 1, limits.SYNC_ROUNDS - 1, "")
    assert not initiator.complete


class Counting(MemoryIndex):
    """How much a request makes a responder do."""

    work = 0

    def summary(self, lower, upper):
        self.work += 1
        return super().summary(lower, upper)

    def items(self, lower, upper, limit):
        found = super().items(lower, upper, limit)
        self.work += len(found)
        return found


@pytest.mark.parametrize("count", [0, 5, 1 << 40])
def test_a_request_with_as_many_ranges_as_may_be_makes_bounded_work(count):
    rng = Random(19)
    theirs = Counting(messages(30_000, rng))
    keys = sorted(rng.sample(theirs.items(START, END, 1 << 30), 2047))
    asked = Ranges(
        START,
        tuple(
            Fingerprint(upper, count, rng.randbytes(16) if count else EMPTY.fingerprint)
            for upper in [*(item.key for item in keys), END]
        ),
    )
    theirs.work = 0
    said = answer(asked, theirs)
    assert theirs.work < 10_000
    assert any(
        isinstance(each, Items | Batches) or each.upper not in {a.upper for a in asked.ranges} for each in said.ranges
    )

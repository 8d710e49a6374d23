"""Two sets of messages that are reconciled, over the frames that would travel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from nexusd_protocols import limits
from nexusd_protocols.chatsync import codec, reconcile
from nexusd_protocols.chatsync.frames import Compare
from nexusd_protocols.chatsync.index import Index, Item, Key, MemoryIndex
from nexusd_protocols.chatsync.ranges import Ranges, check_answer, check_request
from nexusd_protocols.content.cid import DAG_CBOR, Cid
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.bounds import HOUR_MS, hour_of

NOW = 1_760_000_000_000
START, END = reconcile.common_range(NOW, 0, 0)
YEAR_MS = 365 * 86_400_000


@dataclass
class Outcome:
    """What a reconciliation found, and what it took."""

    needs: list[Item] = field(default_factory=list)
    haves: list[bytes] = field(default_factory=list)
    batches: list[BatchRef] = field(default_factory=list)
    rounds: int = 0
    sent: int = 0
    """Bytes of the initiator."""
    received: int = 0
    """Bytes of the responder."""
    largest: int = 0
    """Bytes of the largest frame."""
    complete: bool = True
    all_noted: bool = True


def travelled(ranges: Ranges) -> tuple[Ranges, int]:
    """What arrives, and how many bytes it took."""
    raw = codec.encode(Compare(ranges))
    (frame,) = codec.FrameBuffer().feed(raw)
    arrived = codec.decode(frame)
    assert isinstance(arrived, Compare)
    return arrived.ranges, len(raw)


def reconciled(
    mine: Index,
    theirs: Index,
    *,
    rng: Random | None = None,
    lower: Key = START,
    upper: Key = END,
    initiator: reconcile.Initiator | None = None,
    between: Callable[[], None] = lambda: None,
    budget: int = limits.SYNC_RANGES_BYTES,
) -> Outcome:
    """Play both sides to the end. `between` is called before each answer and each step; `budget` is the responder's."""
    rng = rng or Random(1)
    initiator = initiator or reconcile.Initiator()
    outcome = Outcome()
    numbers = [rng.getrandbits(64) for _ in range(reconcile.CUTS)]
    request: Ranges | None = initiator.open(mine, lower, upper, reconcile.random_cuts(mine, lower, upper, numbers))
    while request is not None:
        asked, size = travelled(request)
        check_request(asked)
        between()
        answer, answer_size = travelled(reconcile.answer(asked, theirs, budget=budget))
        check_answer(request, answer)
        between()
        step = initiator.handle(answer, mine)
        outcome.needs += step.needs
        outcome.haves += step.haves
        outcome.batches += step.batches
        outcome.rounds += 1
        outcome.sent += size
        outcome.received += answer_size
        outcome.largest = max(outcome.largest, size, answer_size)
        request = step.request
    outcome.complete, outcome.all_noted = initiator.complete, initiator.all_noted
    return outcome


def messages(count: int, rng: Random, *, span: int = YEAR_MS, until: int = NOW) -> list[Item]:
    """Messages of the last `span` milliseconds."""
    return [Item(until - rng.randrange(span), rng.randbytes(32)) for _ in range(count)]


def seal(index: MemoryIndex, first_hour: int, last_hour: int) -> dict[Cid, list[Item]]:
    """Give each of these hours its batches; and tell what is in each."""
    contents: dict[Cid, list[Item]] = {}
    for hour in range(first_hour, last_hour):
        items = index.items(Key(hour * HOUR_MS, b""), Key((hour + 1) * HOUR_MS, b""), 1 << 30)
        held = sorted((item for item in items if not item.gone), key=lambda item: item.digest)
        refs = []
        for part, at in enumerate(range(0, len(held), 100)):
            batch = held[at : at + 100]
            refs.append(BatchRef(hour, part, Cid.of(DAG_CBOR, b"".join(item.digest for item in batch)), len(batch)))
            contents[refs[-1].cid] = batch
        if refs:
            index.seal(hour, refs)
    return contents


def hours_of(items: list[Item]) -> tuple[int, int]:
    """The hours that they lie in: the first, and the one behind the last."""
    return hour_of(min(items).timestamp), hour_of(max(items).timestamp) + 1

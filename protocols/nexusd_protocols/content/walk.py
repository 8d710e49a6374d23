"""All blocks of something, whatever it is made of: which come next, and how much of it there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nexusd_protocols import limits
from nexusd_protocols.content import dag_pb
from nexusd_protocols.content.block import Block, BlockError
from nexusd_protocols.content.cid import DAG_PB, RAW, Cid


@dataclass(frozen=True, slots=True)
class Step:
    """A block to be had. `size` is what the node above says of it (0 if nothing), which nobody has checked."""

    cid: Cid
    size: int = 0

    @property
    def is_leaf(self) -> bool:
        """Nothing is below it, so that it need not be read once it is here."""
        return self.cid.codec == RAW


def steps_below(block: Block) -> list[Step]:
    """Where a block leads, in its order. Of one with very many links it takes a while."""
    if block.cid.codec == DAG_PB:
        return [Step(link.cid, link.size) for link in dag_pb.decode(block.data).links]
    return [Step(cid) for cid in block.links]


class Walk:
    """Goes down from a root: `next` gives blocks to be had, and each comes back by `take`, or by `skip`.

    What links to others is visited once, however many link to it: a few small blocks can have more paths than anybody
    can count. Leaves come as often as they are linked to; whoever asks looks first whether they are here."""

    def __init__(self, root: Cid, *, most: int = limits.CONTENT_BLOCKS, waiting: int = limits.CONTENT_WAITING) -> None:
        self._waiting = [Step(root)]
        self._seen: set[bytes] = set()
        self._most = most
        self._most_waiting = waiting
        self._out = 0
        self.blocks = 0
        """Blocks that came, or were skipped."""
        self.bytes = 0
        """Their bytes."""
        self.total = 0
        """Bytes of all blocks, as the root says; 0 if it does not."""

    @property
    def done(self) -> bool:
        """Has everything come?"""
        return not self._waiting and not self._out

    def next(self, most: int) -> list[Step]:
        """The next blocks, in the order of a file, which are then expected back. None: wait for one, or it is done."""
        found: list[Step] = []
        while self._waiting and len(found) < most:
            step = self._waiting.pop()
            if not step.is_leaf:
                if step.cid.digest in self._seen:
                    continue
                self._seen.add(step.cid.digest)
            found.append(step)
        self._out += len(found)
        return found

    def skip(self, step: Step) -> None:
        """A leaf is here already."""
        self._count(min(step.size, limits.BLOCK_BYTES))

    def take(self, block: Block, below: Sequence[Step] | None = None) -> None:
        """A block came; `below` are its `steps_below`, if they were read. Raises BlockError
        `too_many_blocks`."""
        below = steps_below(block) if below is None else below
        first = not self.blocks
        self._count(len(block.data))
        if first and (block.cid.codec == DAG_PB or not below):
            said = len(block.data) + sum(step.size for step in below)
            self.total = min(said, limits.CONTENT_SAID_BYTES)
        self._waiting.extend(reversed(below))
        if max(len(self._waiting), len(self._seen)) > self._most_waiting:
            raise BlockError("too_many_blocks", f"over {self._most_waiting} nodes")

    def _count(self, size: int) -> None:
        self._out -= 1
        self.blocks += 1
        self.bytes += size
        if self.blocks > self._most:
            raise BlockError("too_many_blocks", f"over {self._most} blocks")

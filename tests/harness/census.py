"""What this process holds: tasks, descriptors, objects of ours. For tests that nothing is left behind."""

from __future__ import annotations

import gc
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

SLACK = 12
"""Objects of a type that may come and go by themselves: those of the last connection, a ping that is under way."""
SETTLE_SECONDS = 60.0
"""For what ends by a deadline of its own: streams that linger, closing handshakes. No matter under a virtual clock."""


@dataclass(frozen=True)
class Census:
    """Tasks by name, open descriptors, and objects of our types and of libp2p's by type."""

    tasks: Counter[str]
    descriptors: int
    objects: Counter[str]

    def beyond(self, before: Census) -> dict[str, int]:
        """What there is more of than before, beyond the slack."""
        more = {f"task {name}": count for name, count in (self.tasks - before.tasks).items()}
        if self.descriptors > before.descriptors:
            more["descriptors"] = self.descriptors - before.descriptors
        grown = self.objects - before.objects
        return more | {f"object {name}": count for name, count in grown.items() if count > SLACK}


def census() -> Census:
    """Count."""
    gc.collect()
    objects: Counter[str] = Counter()
    for each in gc.get_objects():
        kind = type(each)
        if str(kind.__module__).startswith(("nexusd", "libp2p")):  # a class may have a property of that name
            objects[f"{kind.__module__}.{kind.__qualname__}"] += 1
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    return Census(_tasks(), descriptors, objects)


def _tasks() -> Counter[str]:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    found: Counter[str] = Counter()
    waiting = [root]
    while waiting:
        task = waiting.pop()
        found[task.name] += 1
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


async def nothing_beyond(before: Census, seconds: float = SETTLE_SECONDS) -> None:
    """Until there is no more than before. Raises AssertionError with what is left."""
    patience = 0.1
    until = trio.current_time() + seconds
    while left := census().beyond(before):
        assert trio.current_time() < until, f"left behind: {left}"
        await trio.sleep(patience)
        patience *= 1.5


async def cancelled(operation: Callable[[], Awaitable[object]], turns: int) -> bool:
    """Run an operation and cancel it after so many turns of the scheduler. Whether it was cancelled."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                await operation()
                nursery.cancel_scope.cancel()

            nursery.start_soon(run)
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    return scope.cancelled_caught


async def cancel_at_random(operation: Callable[[], Awaitable[object]], times: int, *, most: int, seed: int = 7) -> int:
    """Cancel an operation again and again, at any of its first turns. How often it was cancelled."""
    print("seed", seed)
    chosen = random.Random(seed)
    count = 0
    for _ in range(times):
        count += await cancelled(operation, chosen.randrange(most))
    return count

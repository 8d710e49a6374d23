"""Work on bytes that somebody else made, beside the loop where it may take long.

A block of 2 MiB may have 45,000 links, and reading them takes a second: in the loop everybody would wait for it. One at
a time, because threads that count take turns with the loop, and of several it would get the smaller part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import trio

from nexusd_protocols import limits

T = TypeVar("T")

LIGHT_BYTES: Final = 64 * limits.KIB
"""So much is read in the loop: 20 ms at worst, and less than a millisecond of what honest programs make."""

_turn: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("heavy_work")


async def at_leisure(size: int, fn: Callable[[], T]) -> T:
    """What `fn` makes of so many bytes. It must not change anything: it may go on after a cancellation has ended."""
    if size <= LIGHT_BYTES:
        return fn()
    try:
        limiter = _turn.get()
    except LookupError:
        limiter = trio.CapacityLimiter(1)
        _turn.set(limiter)
    return await trio.to_thread.run_sync(fn, limiter=limiter)

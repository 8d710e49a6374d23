"""Which search a collection needs: to look at everything is dear, and mostly nothing has changed.

A block that is kept becomes loose when a pin goes, and one that is not when its hour is over. Everything is looked at
after the first, once an hour in any case, and at the start; after the second those alone whose hour has ended since.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from nexusd.store.blocks import collection

Search = Callable[..., list[tuple[bytes, int]]]


class Searches:
    """What was searched, and what happened since."""

    def __init__(self) -> None:
        self.unpinned = True
        """Set and cleared by the writer, in the order in which it works."""
        self._searched_at = 0
        self._walked_at: int | None = None
        self._next_at = 0

    def stored(self, now: int) -> None:
        """Blocks were. A clock that went back has them older than what was looked at already."""
        self._next_at = min(self._next_at, now + collection.GRACE_MS)
        if now <= self._searched_at - collection.GRACE_MS:
            self.unpinned = True

    def next(self, now: int, *, unpinned: bool, patience_ms: int) -> Search | None:
        """What finds all that is loose now, None where nothing can be. `unpinned`: a pin went since the last call."""
        last = self._walked_at
        if last is None or not 0 <= now - last < collection.GRACE_MS or (unpinned and now - last >= patience_ms):
            return collection.find_loose
        self.unpinned = self.unpinned or unpinned
        return None if now < self._next_at else partial(collection.find_aged, since=self._searched_at)

    def done(self, now: int, next_at: int, *, whole: bool) -> None:
        """All that was found is gone; before `next_at` nothing else has its hour over."""
        self._searched_at, self._next_at = now, next_at
        if whole:
            self._walked_at = now

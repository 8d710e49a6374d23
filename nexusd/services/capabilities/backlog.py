"""Input that a provider has not taken yet.

The caller's cancel comes behind its input on the same stream, so whoever reads must not be held up by a provider that
takes nothing. Bytes are bounded by the call's input limit; so that a piece for each byte costs no more, texts behind
many others are joined. Other JSON cannot be: only there does the reader wait.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec
import trio

PIECES: Final = 4096
"""Pieces that are kept as they came."""
JOINED_CHARS: Final = 1024
"""To which length texts are joined: enough to forget what a piece costs, little enough to copy for each."""


class Backlog:
    """Pieces of input, in order, each with whether it is the last."""

    def __init__(self, pieces: int = PIECES) -> None:
        self._limit = pieces
        self._pieces: deque[tuple[Any, bool]] = deque()
        self._moved = trio.Event()
        self._ended = False

    def __len__(self) -> int:
        return len(self._pieces)

    async def room(self, data: Any) -> None:
        """Wait for room: only where a piece that is not text finds the backlog full."""
        while len(self._pieces) >= self._limit and data is not msgspec.UNSET:
            if isinstance(data, str) and isinstance(self._pieces[-1][0], str):
                return
            await self._moved.wait()

    def add(self, data: Any, final: bool) -> None:
        """Add a piece (UNSET with `final`: the input ends with what was added)."""
        if len(self._pieces) >= self._limit:
            last = self._pieces[-1][0]
            if data is msgspec.UNSET:
                self._pieces[-1] = (last, final)
                return
            if isinstance(data, str) and isinstance(last, str) and len(last) + len(data) <= JOINED_CHARS:
                self._pieces[-1] = (last + data, final)
                return
        self._pieces.append((data, final))
        self._move()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._move()

    @property
    def over(self) -> bool:
        """Whether all was taken, and nothing more will come."""
        return self._ended and not self._pieces

    def whole(self) -> list[Any] | None:
        """All of it, which stays to be taken; None where more may come."""
        return [data for data, _ in self._pieces] if self._ended else None

    def ready(self) -> tuple[Any, bool] | None:
        """The oldest piece, if there is one."""
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        self._move()
        return piece

    async def take(self) -> tuple[Any, bool] | None:
        """The oldest piece, waiting for one; None once all was taken."""
        await trio.lowlevel.checkpoint()
        while not self._pieces:
            if self._ended:
                return None
            await self._moved.wait()
        return self.ready()

    def _move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

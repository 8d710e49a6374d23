"""Byte credit on a connection: pieces that came in on it, and the gate that it opens. (specs/rpc.md §5)

Credit counts the bytes of a piece's JSON-RPC object as it stands in its line.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import trio

from nexusd.api.outgoing import Outgoing
from nexusd_protocols import limits
from nexusd_protocols.credit import Credit
from nexusd_protocols.rpc.connection import notification
from nexusd_protocols.rpc.schema import InvokeCreditParams

GRANT_SHARE: Final = 4
"""Credit is given back once a quarter of it was used: one grant for many pieces, and never a pause."""


class Flow:
    """Pieces that came in on credit, the credit that is left, and what is to be given back."""

    def __init__(self, invocation: str, outgoing: Outgoing, credit: int = limits.RPC_CREDIT_BYTES) -> None:
        self._invocation = invocation
        self._outgoing = outgoing
        self._window = credit
        self._credit = Credit(credit)
        self._pieces: deque[tuple[Any, int]] = deque()
        self._arrived = trio.Event()
        self._taken = 0
        self._ended = False

    def push(self, piece: Any, size: int) -> bool:
        """Queue a piece; False where no credit is left for it."""
        if not self._credit.take(size):
            return False
        self._pieces.append((piece, size))
        self._arrived.set()
        return True

    def end(self) -> None:
        """Nothing more will come: `next` gives nothing once the queue is empty."""
        self._ended = True
        self._arrived.set()

    async def next(self) -> tuple[list[Any], int]:
        """The pieces that wait, at least one, and their size together; none at the end."""
        while not self._pieces:
            if self._ended:
                return [], 0
            self._arrived = trio.Event()
            await self._arrived.wait()
        pieces = [piece for piece, _ in self._pieces]
        size = sum(size for _, size in self._pieces)
        self._pieces.clear()
        return pieces, size

    async def consumed(self, size: int) -> None:
        """Pieces have gone where they should: grant their bytes again, a few at a time."""
        self._taken += size
        if self._taken * GRANT_SHARE >= self._window:
            grant, self._taken = self._taken, 0
            self._credit.grant(grant)
            params = InvokeCreditParams(invocation=self._invocation, bytes=grant)
            await self._outgoing.send(notification("invoke.credit", params))


class Gate:
    """Credit that the other end grants for what is sent to it."""

    def __init__(self, credit: int) -> None:
        self._credit = Credit(credit)
        self._opened = trio.Event()

    def grant(self, size: int) -> None:
        """The other end takes `size` bytes more."""
        self._credit.grant(size)
        self.open()

    def open(self) -> None:
        """Let whoever waits look again."""
        self._opened.set()

    @property
    def shut(self) -> bool:
        """Whether there is no credit left."""
        return not self._credit.usable

    async def wait(self) -> None:
        """Wait for the next `grant` or `open`."""
        self._opened = trio.Event()
        await self._opened.wait()

    def take(self, size: int) -> None:
        """Use credit."""
        self._credit.take(size)

"""Peers that a person named: `--bootstrap /ip4/…/p2p/…`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import trio

from nexusd_bootstrap.candidate import Candidate, parse_address
from nexusd_protocols.identity import PeerId

REOFFER_S: Final = 15.0
"""A named peer that is not connected is offered again this often: it is where a node without others comes from."""


class Static:
    """Offers the named peers at the start, and again while they are not connected."""

    name: Final = "bootstrap"

    def __init__(
        self,
        addresses: Iterable[str],
        connected: Callable[[PeerId], bool],
        *,
        interval_s: float = REOFFER_S,
    ) -> None:
        """`addresses` end in /p2p/<peer id>. Raises ValueError, naming the first that does not parse."""
        grouped: dict[PeerId, list[str]] = {}
        for text in addresses:
            peer, address = parse_address(text)
            grouped.setdefault(peer, []).append(address)
        self._candidates: Final = tuple(
            Candidate(peer, tuple(dict.fromkeys(kept)), self.name) for peer, kept in grouped.items()
        )
        self._connected = connected
        self._interval_s = interval_s

    async def run(
        self,
        found: trio.MemorySendChannel[Candidate],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """See `Source.run`."""
        task_status.started()
        while self._candidates:
            for candidate in self._candidates:
                if not self._connected(candidate.peer):
                    await found.send(candidate)
            await trio.sleep(self._interval_s)

    def describe(self) -> str:
        """See `Source.describe`."""
        count = len(self._candidates)
        return f"{sum(self._connected(c.peer) for c in self._candidates)} of {count} connected"

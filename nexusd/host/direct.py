"""Direct peers: those with whom this host has an agreement. Somebody named them in the configuration, here and there.

gossipsub-v1.1 "Explicit Peering Agreements": "the router must maintain open connections to its explicit peers", which
"exist outside the mesh". The router sends them every message; here a connection to each is made, and made again for as
long as the host runs. The gate keeps places for them as for all whom a person named (`limits.connections`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from random import Random
from typing import Final

import structlog
import trio

from nexusd.host.ports import HostError
from nexusd_protocols.identity import PeerId, parse_peer_id

_log = structlog.get_logger(__name__)

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 30.0
"""After a dial that failed; twice as long after each more, with jitter. They are few, and somebody relies on each: one
that is back should be here within the minute."""
STEADY_SECONDS: Final = 10.0
"""A connection that lasts for less counts as a failed dial: a peer that refuses us must not be dialled every second."""
LOOK_SECONDS: Final = 60.0
"""A peer is looked after so often, whatever was heard of its connections (the specification: "every 5 minutes")."""


class DirectPeers:
    """`addresses` end in /p2p/<peer>; several may be of one peer. `connect` has a connection, as `Network.connect`."""

    def __init__(
        self,
        addresses: Iterable[str],
        *,
        own: PeerId,
        connect: Callable[[PeerId, Sequence[str]], Awaitable[None]],
        random: Random,
    ) -> None:
        self._addresses: dict[PeerId, list[str]] = {}
        for text in addresses:
            address, _, name = text.rpartition("/p2p/")
            peer = parse_peer_id(name)
            # one file may serve all hosts of a group
            if peer != own:
                self._addresses.setdefault(peer, []).append(address)
        self.peers: Final = frozenset(self._addresses)
        self._connect = connect
        self._random = random
        self._lost: dict[PeerId, trio.Event] = {}

    def left(self, peer: PeerId) -> None:
        """The last connection to a peer is gone."""
        if (lost := self._lost.get(peer)) is not None:
            lost.set()

    async def run(self) -> None:
        """Stay connected to all of them, until cancelled."""
        async with trio.open_nursery() as nursery:
            for peer, addresses in self._addresses.items():
                nursery.start_soon(self._keep, peer, addresses)

    async def _keep(self, peer: PeerId, addresses: Sequence[str]) -> None:
        failures = 0
        while True:
            # before the dial: a connection that breaks at once must not be waited for
            lost = self._lost[peer] = trio.Event()
            try:
                await self._connect(peer, addresses)
            except HostError as error:
                (_log.debug if failures else _log.warning)("direct_peer_away", peer=peer, error=str(error))
                failures += 1
                await trio.sleep(self._pause(failures))
                continue
            with trio.move_on_after(STEADY_SECONDS):
                await lost.wait()
            if lost.is_set():
                failures += 1
                await trio.sleep(self._pause(failures))
                continue
            if failures:
                _log.info("direct_peer_back", peer=peer)
                failures = 0
            with trio.move_on_after(LOOK_SECONDS) as patience:
                await lost.wait()
            if not patience.cancelled_caught:
                await trio.sleep(self._pause(1))

    def _pause(self, failures: int) -> float:
        return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(failures - 1, 16)) * self._random.uniform(0.5, 1.5)

"""The free tier: what is served for a price of 0 is given to each peer so many times an hour, and no more."""

from __future__ import annotations

from typing import Final

from nexusd_protocols.rate import Rates

PEERS: Final = 4096
"""Pairs of capability and peer that are remembered. Beyond, the one that came longest ago begins anew: who has so many
identities has no need of it."""
HOUR_S: Final = 3600


class FreeTier:
    """`an_hour` calls of one peer to one capability: as many at once, and as many each hour after that."""

    def __init__(self, an_hour: int) -> None:
        self.used_up = f"{an_hour} calls an hour are free, and used up; try again later"
        self._rates: Rates[tuple[str, str]] = Rates(an_hour, an_hour / HOUR_S, most=PEERS)

    def allows(self, capability: str, peer: str, now: float) -> bool:
        """Count one more call, at `now` in seconds of any clock. False if that is too many."""
        return self._rates.of((capability, peer), now).allows(now)

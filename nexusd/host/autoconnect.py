"""A stock swarm dials whomever it has heard of until it has half of `high_watermark` connections; `low_watermark=0`
does not stop it in this release. Whom this node dials is decided by the daemon, so the part that does it is taken out.
"""

from __future__ import annotations

from typing import Any

from libp2p.network.swarm import Swarm


class NoAutoConnector:
    """What the swarm calls, and nothing happens."""

    async def start(self) -> None:
        """Nothing to start."""

    async def run_background_task(self, nursery: Any) -> None:
        """No task."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def maybe_connect(self) -> None:
        """Never."""

    def record_disconnect(self, peer_id: Any) -> None:
        """Nobody is dialled, so nobody is spared."""


def dial_nobody(swarm: Swarm) -> None:
    """Before the swarm runs."""
    swarm.auto_connector = NoAutoConnector()

"""The daemon itself: what it is and does, its settings, and its end."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nexusd import __version__
from nexusd.services.ports import WallClock
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.rpc.schema import ConfigShow, ConnectionUsage, Done, NodeStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What stays the same while the daemon runs."""

    name: str
    peer_id: PeerId
    agent: AgentId
    role: Literal["light", "full", "storage"]
    data_dir: Path
    socket: Path
    started_at: int
    config: ConfigShow


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """What changes: each is asked when somebody wants to know."""

    addresses: Callable[[], list[str]]
    peers: Callable[[], tuple[int, int]]
    connections: Callable[[], ConnectionUsage]
    rooms: Callable[[], list[str]]
    capabilities: Callable[[], list[str]]
    discovery: Callable[[], dict[str, str]]


class NodeInfo:
    """Answers for the daemon as a whole."""

    def __init__(self, facts: Facts, gauges: Gauges, clock: WallClock, stop: Callable[[], None]) -> None:
        self._facts = facts
        self._gauges = gauges
        self._clock = clock
        self._stop = stop

    async def status(self) -> NodeStatus:
        """What this daemon is and does."""
        facts, gauges = self._facts, self._gauges
        connected, known = gauges.peers()
        return NodeStatus(
            name=facts.name,
            peer_id=facts.peer_id,
            agent=facts.agent,
            version=__version__,
            role=facts.role,
            addresses=gauges.addresses(),
            pid=os.getpid(),
            started_at=facts.started_at,
            uptime_ms=max(0, self._clock() - facts.started_at),
            data_dir=str(facts.data_dir),
            socket=str(facts.socket),
            peers_connected=connected,
            peers_known=known,
            connections=gauges.connections(),
            rooms=gauges.rooms(),
            capabilities=gauges.capabilities(),
            discovery=gauges.discovery(),
        )

    async def config(self) -> ConfigShow:
        """Every setting that is in force, and where it came from."""
        return self._facts.config

    async def shutdown(self) -> Done:
        """Begin to drain; the answer goes out before the socket closes."""
        self._stop()
        return Done()

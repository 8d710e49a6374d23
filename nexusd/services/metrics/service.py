"""Answers who asks for metrics."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from nexusd.services.metrics.families import Family, Sources, read
from nexusd_protocols.rpc.schema import NodeMetrics


class Metrics:
    """Reads where the figures live, and makes text of them in a thread: 256 rooms are thousands of lines."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._one = trio.CapacityLimiter(1)

    async def expose(self) -> NodeMetrics:
        """Everything as of now."""
        async with self._one:
            lag = self._sources.loop_lag
            storage = await self._sources.storage()
            families, buckets, total = read(self._sources, storage), lag.buckets(), lag.total
            return NodeMetrics(text=await trio.to_thread.run_sync(_render, families, buckets, total))


def _render(families: Sequence[Family], lag: Sequence[tuple[str, float]], lag_total: float) -> str:
    from nexusd.services.metrics.exposition import exposition

    return exposition(families, lag, lag_total)

"""A shelf in memory."""

from __future__ import annotations

from nexusd_protocols.kad.saved import Saved


class MemoryShelf:
    """Outlives a node, not a test."""

    def __init__(self) -> None:
        self.own = {}
        self.records = {}
        self.providers = {}
        self.full = False

    async def load(self) -> Saved:
        return Saved(list(self.own.values()), list(self.records.values()), list(self.providers.values()))

    async def keep_own(self, renewal) -> None:
        self._write()
        self.own[(renewal.sort, renewal.key)] = renewal

    async def drop_own(self, sort, key) -> None:
        self.own.pop((sort, key), None)

    async def keep_others(self, records, providers) -> None:
        self._write()
        for kept, changes in ((self.records, records), (self.providers, providers)):
            for name, value in changes:
                kept[name] = value
                if value is None:
                    del kept[name]

    def _write(self) -> None:
        if self.full:
            raise OSError("the disk is full")

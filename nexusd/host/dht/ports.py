"""What the DHT asks of the rest of the daemon, and what it gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from nexusd_protocols.identity import PeerId
from nexusd_protocols.kad.providers import ProviderEntry
from nexusd_protocols.kad.records import StoredRecord
from nexusd_protocols.kad.renewals import Renewal, Sort
from nexusd_protocols.kad.saved import Saved

PROTOCOL: Final = "/nexus/kad/1.1.0"
NAMESPACE: Final = "nexus"

Role = Literal["light", "full", "storage"]


class RecordSchema(Protocol):
    """What a record under /nexus/ must be."""

    def validate(self, key: str, value: bytes) -> None:
        """Raise ValueError if `value` must not be stored under `key`."""
        ...

    def select(self, key: str, values: Sequence[bytes]) -> int:
        """The index of the best of values that are all valid."""
        ...

    def valid_until(self, key: str, value: bytes) -> int | None:
        """When a value that was valid ceases to be (unix milliseconds). None: not by itself."""
        ...


class NoRecords:
    """The schema before there are signed envelopes: nothing is a record, so nothing unsigned is stored or believed."""

    def validate(self, key: str, value: bytes) -> None:
        """Refuse."""
        raise ValueError("no record schema is configured")

    def select(self, key: str, values: Sequence[bytes]) -> int:
        """Never asked, since nothing is valid."""
        raise ValueError("no record schema is configured")

    def valid_until(self, key: str, value: bytes) -> int | None:
        """What is on disk was valid under another schema, and is not under this one."""
        return 0


@dataclass(frozen=True, slots=True)
class Found:
    """A peer and where it may be dialled (addresses without /p2p)."""

    peer: PeerId
    addresses: tuple[str, ...]


class Shelf(Protocol):
    """Where the DHT keeps what must outlive the process. Every method returns once it is on disk. Raises OSError."""

    async def load(self) -> Saved: ...

    async def keep_own(self, renewal: Renewal) -> None: ...

    async def drop_own(self, sort: Sort, key: bytes) -> None: ...

    async def keep_others(
        self,
        records: Iterable[tuple[bytes, StoredRecord | None]],
        providers: Iterable[tuple[tuple[bytes, PeerId], ProviderEntry | None]],
    ) -> None:
        """Follow changes of what is kept for others: by key, None for what is gone."""
        ...


class NoShelf:
    """Nothing outlives the process."""

    async def load(self) -> Saved:
        """Nothing."""
        return Saved()

    async def keep_own(self, renewal: Renewal) -> None:
        """Nowhere to keep it."""

    async def drop_own(self, sort: Sort, key: bytes) -> None:
        """Nowhere to drop it from."""

    async def keep_others(
        self,
        records: Iterable[tuple[bytes, StoredRecord | None]],
        providers: Iterable[tuple[tuple[bytes, PeerId], ProviderEntry | None]],
    ) -> None:
        """Nowhere to keep them."""

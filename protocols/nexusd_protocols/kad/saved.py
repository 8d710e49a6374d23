"""What outlives the process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nexusd_protocols.kad.providers import ProviderEntry
from nexusd_protocols.kad.records import StoredRecord
from nexusd_protocols.kad.renewals import Renewal


@dataclass(frozen=True, slots=True)
class Saved:
    """What a node tells of itself, and what it keeps for others."""

    own: Sequence[Renewal] = ()
    records: Sequence[StoredRecord] = ()
    providers: Sequence[ProviderEntry] = ()

"""The schema of what is kept under /nexus/: pointers that their issuers signed. (protocols/specs/pointer.md)"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nexusd_protocols.pointer import envelope


class PointerRecords:
    """Implements `ports.RecordSchema`. `clock` gives unix milliseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._now = clock

    def validate(self, key: str, value: bytes) -> None:
        """Raises PointerError, with the reason."""
        envelope.read(key, value, self._now())

    def select(self, key: str, values: Sequence[bytes]) -> int:
        """The newest."""
        return envelope.newest(values)

    def valid_until(self, key: str, value: bytes) -> int | None:
        """When its time is over. For what is no pointer, kept by an earlier version, it is."""
        try:
            return envelope.valid_until(value)
        except envelope.PointerError:
            return 0

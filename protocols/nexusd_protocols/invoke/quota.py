"""The limits of one call, and the count of what was used of them. (specs/invoke.md §5)"""

from __future__ import annotations

from dataclasses import dataclass

from nexusd_protocols import limits
from nexusd_protocols.invoke.frames import OpenFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one side allows a call."""

    max_duration_ms: int = limits.INVOKE_DURATION_CEILING_MS
    max_input_bytes: int = limits.INVOKE_INPUT_CEILING_BYTES
    max_output_bytes: int = limits.INVOKE_OUTPUT_CEILING_BYTES

    @staticmethod
    def stated(frame: OpenFrame) -> Limits:
        """What the opener states."""
        return Limits(
            max_duration_ms=frame.max_duration_ms,
            max_input_bytes=frame.max_input_bytes,
            max_output_bytes=frame.max_output_bytes,
        )

    def within(self, other: Limits) -> Limits:
        """The lower of each."""
        return Limits(
            max_duration_ms=min(self.max_duration_ms, other.max_duration_ms),
            max_input_bytes=min(self.max_input_bytes, other.max_input_bytes),
            max_output_bytes=min(self.max_output_bytes, other.max_output_bytes),
        )


class Meter:
    """Bytes and pieces in one direction, and whether their order is right."""

    def __init__(self) -> None:
        self.bytes = 0
        self.pieces = 0
        self._last_seq = 0

    def in_order(self, seq: int) -> bool:
        """Whether `seq` may come next. Ours are 0, 1, 2 …; gaps and repetitions of other programs pass, since a stream
        neither loses nor repeats, but a step back means that the sender has lost its way."""
        return seq >= self._last_seq

    def count(self, size: int, seq: int) -> None:
        """A piece of `size` bytes went through."""
        self.bytes += size
        self.pieces += 1
        self._last_seq = seq

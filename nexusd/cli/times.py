"""Lengths of time and moments, as people type them, and as programs read them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Final

from nexusd.cli.usage import UsageError

UNITS: Final = {"s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def length(text: str) -> int | None:
    """Milliseconds of 90s, 10min, 2h or 7d; None for anything else."""
    match = re.fullmatch(r"(\d{1,9}) ?(s|m|min|h|d)", text)
    return int(match[1]) * UNITS[match[2]] if match else None


def iso(unix_ms: int) -> str:
    """A moment as other programs read it."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(flag: str, text: str, now_ms: int | None = None) -> int:
    """Unix milliseconds of a time ago (2h), or of a date or date and time, local unless it says where. Raises
    UsageError."""
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    if (ago := length(text)) is not None:
        return max(0, now - ago)
    try:
        return max(0, round(datetime.fromisoformat(text).timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{flag} {text} is no time", "write it as 90s, 2h, 7d, 2026-11-29 or 2026-11-29T08:30"
        ) from None

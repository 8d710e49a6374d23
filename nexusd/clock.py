"""The wall clock. Timers use Trio's monotonic one; this is for what is written down or told to others."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000

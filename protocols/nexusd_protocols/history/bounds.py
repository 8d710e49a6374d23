"""Which dates history has room for, and when an hour of it is closed. (specs/history.md §1)

Times are unix milliseconds, hours unix hours (UTC). A timestamp is its author's word: it says where a message is filed,
never in which order two were said.
"""

from __future__ import annotations

from typing import Final, Literal

from nexusd_protocols import limits

HISTORY_EPOCH_MS: Final = 1_704_067_200_000
"""2024-01-01: no room is older, so whoever dates a message before it dates it wrongly."""
HOUR_MS: Final = 3_600_000
DAY_HOURS: Final = 24
CLOSE_MS: Final = 600_000
"""After its end, until an hour is closed: 320 s for clocks that are behind, and 280 s for messages to come round. What
is later still is taken all the same, and the hour's batches are made anew."""


def placement(
    timestamp: int, now: int, horizon: int, *, ahead_ms: int = limits.CLOCK_AHEAD_MS
) -> Literal["clock_ahead", "before_horizon"] | None:
    """Why a message of this date is not taken into history, if it is not. `horizon` is the first millisecond that is
    kept here; nothing before the epoch is, whatever it says."""
    if timestamp > now + ahead_ms:
        return "clock_ahead"
    if timestamp < max(horizon, HISTORY_EPOCH_MS):
        return "before_horizon"
    return None


def horizon_of(ttl_ms: int | None, now: int) -> int:
    """The first millisecond that is kept where messages are kept for so long; None is for ever."""
    return HISTORY_EPOCH_MS if ttl_ms is None else max(HISTORY_EPOCH_MS, now - ttl_ms)


def hour_of(timestamp: int) -> int:
    """The unix hour that a message is filed under."""
    return timestamp // HOUR_MS


def closed_before(now: int) -> int:
    """The hours below this one are closed: whoever holds the same messages of them makes the same batches."""
    return (now - CLOSE_MS) // HOUR_MS

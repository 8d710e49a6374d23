"""Which dates history has room for (specs/history.md §1)."""

from __future__ import annotations

import datetime as dt

import pytest

from nexusd_protocols.history import bounds
from nexusd_protocols.history.bounds import HISTORY_EPOCH_MS, HOUR_MS, horizon_of, placement

NOW = 1_760_000_000_000


def test_the_epoch_is_the_first_of_2024():
    assert dt.datetime.fromtimestamp(HISTORY_EPOCH_MS / 1000, dt.UTC).isoformat() == ("2024-01-01T00:00:00+00:00")


@pytest.mark.parametrize(
    ("timestamp", "horizon", "verdict"),
    [
        (NOW, HISTORY_EPOCH_MS, None),
        (NOW + 320_000, HISTORY_EPOCH_MS, None),
        (NOW + 320_001, HISTORY_EPOCH_MS, "clock_ahead"),
        (4_102_444_800_000, HISTORY_EPOCH_MS, "clock_ahead"),  # 2100
        (HISTORY_EPOCH_MS, 0, None),
        (HISTORY_EPOCH_MS - 1, 0, "before_horizon"),
        (0, 0, "before_horizon"),  # 1970
        (NOW - HOUR_MS, NOW - HOUR_MS, None),
        (NOW - HOUR_MS - 1, NOW - HOUR_MS, "before_horizon"),
    ],
)
def test_placement(timestamp, horizon, verdict):
    assert placement(timestamp, NOW, horizon) == verdict


def test_the_horizon_of_what_is_kept_for_ever_is_the_epoch():
    assert horizon_of(None, NOW) == HISTORY_EPOCH_MS
    assert horizon_of(HOUR_MS, NOW) == NOW - HOUR_MS
    assert horizon_of(NOW, NOW) == HISTORY_EPOCH_MS


def test_an_hour_is_closed_ten_minutes_after_its_end():
    hour = bounds.hour_of(NOW)
    end = (hour + 1) * HOUR_MS
    assert bounds.closed_before(end + 599_999) == hour
    assert bounds.closed_before(end + 600_000) == hour + 1
    assert bounds.hour_of(end - 1) == hour

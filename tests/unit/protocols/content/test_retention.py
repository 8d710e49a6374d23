from __future__ import annotations

from nexusd_protocols.content.retention import CLASSES, TTL_MS, expires_at

DAY_MS = 86_400_000


def test_each_class_has_its_time():
    assert set(TTL_MS) == set(CLASSES)
    now = 1_800_000_000_000
    assert [expires_at(each, now) - now for each in CLASSES[:4]] == [DAY_MS / 24, DAY_MS, 7 * DAY_MS, 30 * DAY_MS]
    assert expires_at("archival", now) == 0

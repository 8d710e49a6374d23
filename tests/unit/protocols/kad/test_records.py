from __future__ import annotations

from nexusd_protocols.kad.contact import place_of, place_of_peer
from nexusd_protocols.kad.records import LIFE_MS, Records, StoredRecord
from tests.harness.kad import peer

OWN = peer(0)


def record(name: int, by: int = 1, value: bytes = b"v", at: int = 0) -> StoredRecord:
    return StoredRecord(b"/nexus/%d" % name, value, peer(by), at)


def test_a_record_lives_for_a_day_and_a_half():
    records = Records(OWN)
    assert records.put(record(1, at=10))
    assert records.get(b"/nexus/1", 10 + LIFE_MS) == b"v"
    assert records.get(b"/nexus/1", 11 + LIFE_MS) is None
    records.expire(11 + LIFE_MS)
    assert len(records) == records.size == 0


def test_the_farthest_makes_room():
    records = Records(OWN, count=10)
    kept = [records.put(record(n, by=n)) for n in range(50)]
    nearest = sorted(range(50), key=lambda n: place_of(b"/nexus/%d" % n) ^ place_of_peer(OWN))[:10]
    assert {n for n in range(50) if records.get(b"/nexus/%d" % n, 0)} == set(nearest)
    assert not all(kept)


def test_the_size_is_bounded():
    records = Records(OWN, size=1000)
    for n in range(50):
        records.put(record(n, value=b"x" * 100))
        assert records.size <= 1000
    assert 0 < len(records) < 10


def test_one_peer_replaces_its_own():
    records = Records(OWN, per_peer=3)
    records.put(record(100, by=2))
    for n in range(10):
        records.put(record(n))
    assert len(records) == 4
    assert [n for n in range(10) if records.get(b"/nexus/%d" % n, 0)] == [7, 8, 9]
    assert records.get(b"/nexus/100", 0)


def test_a_key_has_one_record_and_it_counts_for_the_last_who_brought_it():
    records = Records(OWN, per_peer=1)
    records.put(record(1, by=1, value=b"1"))
    records.put(record(1, by=2, value=b"22"))
    assert len(records) == 1
    assert records.size == len(b"/nexus/1") + 2
    records.put(record(2, by=1))
    assert len(records) == 2


def test_changes_are_told_once():
    records = Records(OWN)
    records.put(record(1))
    records.put(record(2, at=LIFE_MS))
    assert records.changes() == [(b"/nexus/1", record(1)), (b"/nexus/2", record(2, at=LIFE_MS))]
    assert records.changes() == []
    records.expire(LIFE_MS + 1)
    assert records.changes() == [(b"/nexus/1", None)]
    records.not_kept([b"/nexus/1", b"/nexus/2"])
    assert records.changes() == [(b"/nexus/1", None), (b"/nexus/2", record(2, at=LIFE_MS))]


def test_what_was_kept_comes_back_unless_it_is_too_old():
    records = Records(OWN, count=1)
    records.restore([record(1), record(2, at=LIFE_MS), record(3, at=LIFE_MS)], LIFE_MS + 1)
    assert len(records) == 1
    assert records.changes() == []


def test_a_record_goes_when_it_is_valid_no_more():
    records = Records(OWN, valid_until=lambda _key, value: None if value == b"ever" else int(value))
    records.put(record(1, value=b"50", at=10))
    records.put(record(2, value=b"ever", at=10))
    records.put(record(3, value=b"%d" % (LIFE_MS * 2), at=10))
    assert records.get(b"/nexus/1", 50) == b"50"
    assert records.get(b"/nexus/1", 51) is None
    records.expire(51)
    assert len(records) == 2
    assert records.changes()[0] == (b"/nexus/1", None)
    records.expire(10 + LIFE_MS)
    assert len(records) == 2
    records.expire(11 + LIFE_MS)
    assert len(records) == 0, "whoever says that it holds for longer is not believed"


def test_what_is_valid_no_more_does_not_come_back_with_a_restart():
    records = Records(OWN, valid_until=lambda _key, value: int(value))
    records.restore([record(1, value=b"50"), record(2, value=b"60")], 51)
    assert [records.get(b"/nexus/%d" % n, 51) for n in (1, 2)] == [None, b"60"]

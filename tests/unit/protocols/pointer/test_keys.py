from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.content.cid import RAW, Cid
from nexusd_protocols.kad.keys import record_key
from nexusd_protocols.pointer.keys import KINDS, TTL_MS, Key, is_named, meeting_place
from tests.harness.people import ALICE
from tests.harness.vectors import vectors

DOC = vectors("pointer")

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


@pytest.mark.parametrize("row", DOC["keys"], ids=lambda row: row["kind"])
def test_the_vectors(row):
    key = Key(row["kind"], row["issuer"], row["subject"])
    assert str(key) == row["text"]
    assert Key.parse(row["text"]) == key


@pytest.mark.parametrize("text", DOC["badKeys"])
def test_what_is_no_key(text):
    with pytest.raises(ValueError, match=r"key|PeerId|name|id is"):
        Key.parse(text)


@given(kind=st.sampled_from(KINDS), name=names)
def test_a_key_is_read_as_it_was_written_and_fits_the_dht(kind, name):
    key = Key(kind, ALICE.peer_id, name if is_named(kind) else "")
    assert Key.parse(str(key)) == key
    assert record_key(str(key), "nexus").decode() == str(key)


@given(st.text())
def test_any_text_is_a_key_or_refused(text):
    for full in (text, f"/nexus/{text}", f"/nexus/room/{text}", f"/nexus/room/{text}/{ALICE.peer_id}"):
        try:
            key = Key.parse(full)
        except ValueError:
            continue
        assert str(key) == full


@pytest.mark.parametrize("kind", KINDS)
def test_names_belong_to_the_kinds_that_have_them(kind):
    with pytest.raises(ValueError, match=r"name|id is"):
        Key(kind, ALICE.peer_id, "" if is_named(kind) else "lab")


def test_the_published_times():
    assert dict(DOC["ttlMs"]) == TTL_MS
    assert [ttl // 60_000 for ttl in TTL_MS.values()] == [24 * 60, 6 * 60, 60, 30, 60, 15]


@pytest.mark.parametrize("row", DOC["meetingPlaces"], ids=lambda row: row["kind"])
def test_meeting_places(row):
    assert str(meeting_place(row["kind"], row["subject"])) == row["cid"]


def test_a_meeting_place_is_that_of_the_key_without_its_issuer():
    key = str(Key("room-pointer", ALICE.peer_id, "lab"))
    assert meeting_place("room-pointer", "lab") == Cid.of(RAW, key.removesuffix(f"/{ALICE.peer_id}").encode())
    with pytest.raises(ValueError, match="room id"):
        meeting_place("room-pointer", "a/b")

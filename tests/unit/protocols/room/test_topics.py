"""Topics against specs/room.md §1 and the vectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.ids import parse_capability_name, parse_room_id
from nexusd_protocols.room.topics import Topic, capability_topic, ephemeral_topic, parse_topic, room_topic
from tests.harness.vectors import vectors

VECTORS = vectors("room")
room_ids = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
capability_names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._:-]{0,63}\Z")


@pytest.mark.parametrize("row", VECTORS["topics"], ids=lambda row: row["topic"][:40])
def test_a_known_topic(row):
    assert parse_topic(row["topic"]) == Topic(row["kind"], row["name"])


@pytest.mark.parametrize("topic", VECTORS["unknownTopics"], ids=lambda topic: ascii(topic[:40]))
def test_an_unknown_topic(topic):
    assert parse_topic(topic) is None


@given(room_ids, capability_names)
def test_what_is_made_is_read(room, capability):
    assert parse_topic(room_topic(parse_room_id(room))) == Topic("room", room)
    assert parse_topic(ephemeral_topic(parse_room_id(room))) == Topic("ephemeral", room)
    assert parse_topic(capability_topic(parse_capability_name(capability))) == Topic("capability", capability)


@given(st.text())
def test_any_text_is_read_or_unknown(text):
    parse_topic(text)
    parse_topic("/nexus/room/" + text)

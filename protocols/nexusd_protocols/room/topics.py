"""The topics of the published network: their names, made and read (specs/room.md §1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from nexusd_protocols.ids import CapabilityName, RoomId, parse_capability_name, parse_room_id

META: Final = "/nexus/meta"
DISCOVERY: Final = (
    "_nexus._peer-discovery._p2p._pubsub",
    "nexus:agents:discovery:v1",
    "_open-agents._nexus._discovery",
)

TopicKind = Literal["room", "ephemeral", "capability", "meta", "discovery"]

_ROOM: Final = "/nexus/room/"
_EPHEMERAL: Final = "/nexus/ephemeral/"
_CAPABILITY: Final = "/nexus/capability/"


@dataclass(frozen=True, slots=True)
class Topic:
    """What a topic is about. `name` is the room id, the session id, the capability's name or the discovery topic
    itself, and empty for the meta topic."""

    kind: TopicKind
    name: str


def room_topic(room: RoomId) -> str:
    """Where a room is talked in."""
    return _ROOM + room


def ephemeral_topic(session: RoomId) -> str:
    """Where a short-lived session is talked in; its id has the form of a room id."""
    return _EPHEMERAL + session


def capability_topic(name: CapabilityName) -> str:
    """Where providers of a capability announce it."""
    return _CAPABILITY + name


def parse_topic(text: str) -> Topic | None:
    """What a topic is about, or None for one that this program does not know."""
    if text == META:
        return Topic("meta", "")
    if text in DISCOVERY:
        return Topic("discovery", text)
    try:
        if text.startswith(_ROOM):
            return Topic("room", parse_room_id(text.removeprefix(_ROOM)))
        if text.startswith(_EPHEMERAL):
            return Topic("ephemeral", parse_room_id(text.removeprefix(_EPHEMERAL)))
        if text.startswith(_CAPABILITY):
            return Topic("capability", parse_capability_name(text.removeprefix(_CAPABILITY)))
    except ValueError:
        return None
    return None

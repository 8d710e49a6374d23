"""Room messages: any bytes get a verdict, and an accepted message keeps the bounds."""

from __future__ import annotations

from nexusd_protocols import limits
from nexusd_protocols.room.message import Ignored, read
from nexusd_protocols.room.payloads import Chat, Presence
from nexusd_protocols.room.topics import parse_topic
from tests.harness.vectors import vectors

_VECTORS = vectors("room")
_ROW = _VECTORS["accepted"][0]
SEEDS = [row["data"].encode() for row in _VECTORS["accepted"] + _VECTORS["ignored"]]


def target(data: bytes) -> None:
    parse_topic(data.decode(errors="replace"))
    verdict = read(_ROW["topic"], data, _ROW["signer"], _ROW["now"])
    if isinstance(verdict, Ignored):
        assert verdict.reason
        return
    assert verdict.sender == _ROW["signer"]
    assert verdict.topic == _ROW["topic"]
    assert 0 < len(verdict.message_id) <= limits.MESSAGE_ID_CHARS
    assert 0 <= verdict.timestamp <= _ROW["now"] + limits.CLOCK_AHEAD_MS
    assert len(verdict.references) <= limits.REFERENCES
    match verdict.payload:
        case Chat(thread_id=str(thread)):
            assert thread.isprintable()
        case Presence() as presence:
            assert (presence.agent_name or "").isprintable()
            assert len(presence.capabilities) <= limits.PROFILE_CAPABILITIES
        case _:
            pass

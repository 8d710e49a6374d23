"""Signed messages: any bytes are refused, or are exactly the encoding of what they decode to."""

from __future__ import annotations

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.vectors import vectors

_VECTORS = vectors("pubsub")
_GENUINE = {row["encoded"] for row in _VECTORS["messages"]}
SEEDS = [bytes.fromhex(row["encoded"]) for rows in ("messages", "refused", "forged") for row in _VECTORS[rows]]


def target(data: bytes) -> None:
    try:
        message = SignedMessage.decode(data)
    except RemoteProtocolError:
        return
    assert message.encode() == data
    assert 0 < len(message.wire_id()) <= 64
    # nothing here holds a key, so what verifies was signed for the vectors
    assert not message.verify() or data.hex() in _GENUINE

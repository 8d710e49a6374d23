"""An agent's voice in a room: what it says is signed, and handed to the mesh."""

from __future__ import annotations

import structlog

from nexusd.host.ports import HostError, Topics
from nexusd.services.rooms.joined import Joined
from nexusd.services.sequence import Sequence
from nexusd_protocols.pubsub.signed import SignedMessage

log = structlog.get_logger(__name__)


class Voice:
    """Signs and publishes."""

    def __init__(self, topics: Topics, sequence: Sequence) -> None:
        self._topics = topics
        self._sequence = sequence

    async def sign(self, joined: Joined, data: bytes) -> SignedMessage:
        """The message with a sequence number that was never used before. Raises OSError where that cannot be kept."""
        return SignedMessage.sign(joined.agent.signer, joined.topic, data, await self._sequence.next())

    async def publish(self, joined: Joined, message: SignedMessage) -> int:
        """Hand it to the mesh. Returns how many neighbours took it."""
        try:
            return await self._topics.publish(message)
        except HostError as error:
            log.warning("publish_failed", room=joined.room, error=str(error))
            return 0

"""Accepted messages of one topic on their way to one receiver."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
import trio

from nexusd.host.ports import Verdict
from nexusd_protocols import limits
from nexusd_protocols.identity import PeerId
from nexusd_protocols.pubsub.signed import SignedMessage

_log = structlog.get_logger(__name__)

INBOX_BYTES: Final = 16 * limits.MIB
"""Accepted messages of one topic that wait for a slow receiver."""

Validate = Callable[[PeerId, SignedMessage], Verdict | Awaitable[Verdict]]
Deliver = Callable[[PeerId, SignedMessage], Awaitable[None]]


class Inbox:
    """One topic's: a receiver that is slow holds back this one only."""

    def __init__(self, topic: str, validate: Validate, deliver: Deliver, max_bytes: int = INBOX_BYTES) -> None:
        self.topic = topic
        self.validate = validate
        self._deliver = deliver
        self._max_bytes = max_bytes
        self._bytes = 0
        self._queue: deque[tuple[PeerId, SignedMessage]] = deque()
        self._wake = trio.Event()
        self.scope = trio.CancelScope()
        self.dropped = 0
        """Messages that found it full."""

    def put(self, forwarder: PeerId, message: SignedMessage) -> None:
        """Add a message, or count it as dropped."""
        if self._bytes + len(message.data) > self._max_bytes:
            self.dropped += 1
            if self.dropped == 1:
                _log.warning("inbox_full", topic=self.topic, bytes=self._bytes)
            return
        self._queue.append((forwarder, message))
        self._bytes += len(message.data)
        self._wake.set()

    async def run(self) -> None:
        """Deliver one message after the other. A receiver that raises loses that message, and the rest arrive."""
        with self.scope:
            while True:
                while not self._queue:
                    self._wake = trio.Event()
                    await self._wake.wait()
                forwarder, message = self._queue.popleft()
                self._bytes -= len(message.data)
                try:
                    await self._deliver(forwarder, message)
                except Exception:
                    _log.exception("delivery_failed", topic=self.topic)

"""Recent messages, for IHAVE and IWANT (gossipsub-v1.0 "Message Cache")."""

from __future__ import annotations

from collections import deque

from nexusd_protocols.gossipsub.seen import MessageKey
from nexusd_protocols.identity import PeerId
from nexusd_protocols.pubsub.signed import SignedMessage


class Entry:
    """A message that we accepted or published.

    `senders` sent it to us. `skipped` did not get it from us, because they said that they have its wire id. `answered`
    counts how often a peer got it by IWANT. `window` numbers the heartbeat in which it came.
    """

    __slots__ = ("accepted", "answered", "message", "senders", "skipped", "window", "wire_id")

    def __init__(self, message: SignedMessage, wire_id: bytes, senders: list[PeerId], now: float) -> None:
        self.message = message
        self.wire_id = wire_id
        self.senders = senders
        self.accepted = now
        self.window = 0
        self.skipped: list[PeerId] = []
        self.answered: dict[PeerId, int] = {}


class MessageCache:
    """Messages of the last windows (one a heartbeat), by wire id and by topic. Bounded by the bytes of their data: with
    more, the oldest go early."""

    __slots__ = ("_by_id", "_by_topic", "_bytes", "_gossip", "_length", "_max_bytes", "_order", "_window")

    def __init__(self, length: int, gossip: int, max_bytes: int) -> None:
        self._length = length
        self._gossip = gossip
        self._max_bytes = max_bytes
        self._bytes = 0
        self._window = 0
        self._order: deque[Entry] = deque()
        self._by_topic: dict[str, deque[Entry]] = {}
        self._by_id: dict[bytes, list[Entry]] = {}

    def __len__(self) -> int:
        return len(self._order)

    @property
    def size(self) -> int:
        """Bytes of data of all messages."""
        return self._bytes

    def put(self, entry: Entry) -> list[Entry]:
        """Add to the current window (`put`). Gives all entries with this wire id, this one last."""
        entry.window = self._window
        self._order.append(entry)
        topic = entry.message.topic
        queue = self._by_topic.get(topic)
        if queue is None:
            queue = self._by_topic[topic] = deque()
        queue.append(entry)
        matches = self._by_id.setdefault(entry.wire_id, [])
        matches.append(entry)
        self._bytes += len(entry.message.data)
        while self._bytes > self._max_bytes:
            self._evict()
        return matches

    def matches(self, wire_id: bytes) -> list[Entry]:
        """All entries with this wire id (`get`). Not to be changed."""
        return self._by_id.get(wire_id, [])

    def find(self, key: MessageKey) -> Entry | None:
        """The message of one author with this wire id."""
        author, wire_id = key
        for entry in self._by_id.get(wire_id, ()):
            if entry.message.sender == author:
                return entry
        return None

    def gossip_ids(self, topic: str) -> list[bytes]:
        """Wire ids of the topic's messages in the gossip windows, the newest first (`get_gossip_ids`). An id that
        belongs to messages of several authors is there once for each."""
        oldest = self._window - self._gossip
        ids = []
        for entry in reversed(self._by_topic.get(topic, ())):
            if entry.window <= oldest:
                break
            ids.append(entry.wire_id)
        return ids

    def shift(self, windows: int = 1) -> None:
        """Begin a new window, and drop the oldest (`shift`). More than one, after heartbeats that did not happen."""
        self._window += windows
        oldest = self._window - self._length
        while self._order and self._order[0].window <= oldest:
            self._evict()

    def _evict(self) -> None:
        entry = self._order.popleft()
        topic = entry.message.topic
        # both are in order of arrival
        queue = self._by_topic[topic]
        queue.popleft()
        if not queue:
            del self._by_topic[topic]
        matches = self._by_id[entry.wire_id]
        matches.remove(entry)
        if not matches:
            del self._by_id[entry.wire_id]
        self._bytes -= len(entry.message.data)

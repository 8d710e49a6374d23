"""What happened, for metrics: plain numbers that only grow."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class TopicCounters:
    """Messages of one joined topic. A copy of a known message is a duplicate, also while that is being checked."""

    published: int = 0
    delivered: int = 0
    duplicates: int = 0
    rejected: int = 0
    ignored: int = 0
    throttled: int = 0
    """Found too many being checked, and were dropped unchecked."""
    forwarded: int = 0
    """Copies sent on, of our own messages too."""
    bytes_received: int = 0
    """Data of messages, with duplicates."""
    bytes_sent: int = 0
    ihave_ids_received: int = 0
    ihave_ids_sent: int = 0
    iwant_ids_sent: int = 0
    """Asked of peers that offered them."""
    iwant_messages_sent: int = 0
    """Sent to peers that asked. Their questions name no topic, so that what they asked in vain is counted for all."""
    promises_broken: int = 0


@dataclass(slots=True)
class Counters:
    """Everything. `topics` has the joined topics only: leaving one ends its numbers."""

    topics: dict[str, TopicCounters] = field(default_factory=dict)
    rpcs: int = 0
    unwanted: int = 0
    """Messages of topics that are not joined, and our own that came back after a restart."""
    malformed: int = 0
    graylisted: int = 0
    """RPCs that were ignored for their sender's score."""
    dropped_entries: int = 0
    """Entries of RPCs that were over a bound."""
    grafts_received: int = 0
    prunes_received: int = 0
    grafts_sent: int = 0
    prunes_sent: int = 0
    grafts_refused: int = 0
    ihave_ids_received: int = 0
    ihave_ids_sent: int = 0
    iwant_ids_received: int = 0
    iwant_ids_sent: int = 0
    iwant_messages_sent: int = 0
    idontwant_ids_received: int = 0
    idontwant_ids_sent: int = 0
    sends_spared: int = 0
    """Copies that were not sent because of an IDONTWANT."""
    promises_broken: int = 0
    validations_expired: int = 0
    heartbeats: int = 0
    heartbeats_skipped: int = 0
    """Heartbeats that were due while nothing ran: the host slept, or is far too busy."""

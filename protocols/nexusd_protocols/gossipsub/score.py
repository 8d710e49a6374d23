"""The peer score (gossipsub-v1.1 "Peer Scoring", "The Score Function", "Topic Parameter Calculation and Decay").

Every connected peer has a `Scorecard`. Its `score` is what the router compares with thresholds: worked out at each
heartbeat, and at once when a peer misbehaves.
"""

from __future__ import annotations

import msgspec

from nexusd_protocols.gossipsub.params import ScoreParams, TopicScoreParams
from nexusd_protocols.identity import PeerId


class TopicStats:
    """Counters of one peer in one topic. `grafted` is None outside the mesh."""

    __slots__ = ("active", "failures", "first", "grafted", "invalid", "mesh_deliveries", "mesh_time", "params")

    def __init__(self, params: TopicScoreParams) -> None:
        self.params = params
        self.grafted: float | None = None
        self.mesh_time = 0.0
        self.first = 0.0
        self.mesh_deliveries = 0.0
        self.active = False
        self.failures = 0.0
        self.invalid = 0.0

    def deficit(self) -> float:
        """By how much it delivers too little, 0 before the activation ("P₃ and P₃b")."""
        return max(0.0, self.params.mesh_message_deliveries_threshold - self.mesh_deliveries) if self.active else 0.0

    def idle(self) -> bool:
        """Whether it says nothing any more."""
        return self.grafted is None and not (self.first or self.mesh_deliveries or self.failures or self.invalid)


class Scorecard:
    """What is known of one peer's conduct."""

    __slots__ = ("address", "application", "behaviour", "score", "topics")

    def __init__(self) -> None:
        self.score = 0.0
        self.topics: dict[str, TopicStats] = {}
        self.application = 0.0
        self.behaviour = 0.0
        self.address = ""


class TopicScore(msgspec.Struct, frozen=True):
    """What the parameters of one topic contribute, weighted."""

    topic: str
    in_mesh: bool
    p1: float
    p2: float
    p3: float
    p3b: float
    p4: float


class PeerScore(msgspec.Struct, frozen=True):
    """A score in its parts, weighted. `total` is their sum, with the topics' share bounded."""

    peer: PeerId
    total: float
    topics: tuple[TopicScore, ...]
    p5: float
    p6: float
    p7: float


class Scores:
    """The scorecards of connected peers, and of departed ones with a score that must not be forgotten."""

    def __init__(self, params: ScoreParams, now: float) -> None:
        self._params = params
        self._decayed = now
        self._cards: dict[PeerId, Scorecard] = {}
        self._retained: dict[PeerId, tuple[float, Scorecard]] = {}
        self._addresses: dict[str, int] = {}

    # --- peers ----------------------------------------------------------------------------------------------------

    def arrive(self, peer: PeerId, address: str) -> Scorecard:
        """The card of a peer that connects: the one it had, or a new one."""
        _, card = self._retained.pop(peer, (0.0, None))
        if card is None:
            card = Scorecard()
        self._cards[peer] = card
        card.address = address
        if address:
            self._addresses[address] = self._addresses.get(address, 0) + 1
        card.score = self._total(card)
        return card

    def depart(self, peer: PeerId, now: float) -> None:
        """A connected peer is gone. "The score is retained for some period of time when a peer disconnects"; a good
        one is not, as in go-libp2p: it must be earned again."""
        card = self._cards.pop(peer)
        for topic, stats in card.topics.items():
            stats.first = 0.0
            if stats.grafted is not None:
                self.prune(card, topic)
        score = self._total(card)
        if card.address:
            left = self._addresses[card.address] - 1
            if left:
                self._addresses[card.address] = left
            else:
                del self._addresses[card.address]
            card.address = ""
        if score < 0:
            self._retained[peer] = (now + self._params.retain_score, card)
            if len(self._retained) > self._params.retained_scores:
                del self._retained[next(iter(self._retained))]

    def set_application(self, peer: PeerId, score: float) -> None:
        """P5 of a peer, if it has a card."""
        card = self._cards.get(peer)
        if card is not None:
            card.application = score
            card.score = self._total(card)
        elif peer in self._retained:
            self._retained[peer][1].application = score

    # --- events ---------------------------------------------------------------------------------------------------

    def graft(self, card: Scorecard, topic: str, now: float) -> None:
        """The peer is in the mesh of the topic from now on."""
        stats = self._stats(card, topic)
        stats.grafted = now
        stats.mesh_time = 0.0
        stats.active = False

    def prune(self, card: Scorecard, topic: str) -> None:
        """The peer is no longer in the mesh. A deficit sticks ("P₃b")."""
        stats = self._stats(card, topic)
        stats.failures += stats.deficit() ** 2
        stats.grafted = None
        stats.active = False

    def first_delivery(self, card: Scorecard, topic: str) -> None:
        """The peer sent a valid message before all others ("P₂"), which counts for the mesh too ("P₃")."""
        stats = self._stats(card, topic)
        cap = stats.params.first_message_deliveries_cap
        stats.first = min(cap, stats.first + 1.0)
        self._mesh_delivery(stats)

    def near_first_delivery(self, card: Scorecard, topic: str) -> None:
        """The peer sent it while it was checked, or very soon after ("P₃")."""
        self._mesh_delivery(self._stats(card, topic))

    def invalid(self, card: Scorecard, topic: str) -> None:
        """The peer sent what does not verify ("P₄")."""
        self._stats(card, topic).invalid += 1.0
        card.score = self._total(card)

    def misbehaved(self, card: Scorecard, count: float) -> None:
        """The peer broke the rules of the router ("P₇")."""
        card.behaviour += count
        card.score = self._total(card)

    def delivery_window(self, topic: str) -> float | None:
        """How long after the first delivery a copy counts for P3; None where P3 does not matter."""
        params = self._params.for_topic(topic)
        tracked = params.mesh_message_deliveries_weight or params.mesh_failure_penalty_weight
        return params.mesh_message_deliveries_window if tracked else None

    def _stats(self, card: Scorecard, topic: str) -> TopicStats:
        stats = card.topics.get(topic)
        if stats is None:
            stats = card.topics[topic] = TopicStats(self._params.for_topic(topic))
        return stats

    @staticmethod
    def _mesh_delivery(stats: TopicStats) -> None:
        if stats.grafted is not None:
            stats.mesh_deliveries = min(stats.mesh_deliveries + 1.0, stats.params.mesh_message_deliveries_cap)

    # --- time -----------------------------------------------------------------------------------------------------

    def refresh(self, now: float) -> None:
        """Let counters decay for the intervals that have passed, and work out all scores. Departed peers' do not decay:
        absence is no merit."""
        params = self._params
        intervals = int((now - self._decayed) / params.decay_interval + 0.001)
        self._decayed += intervals * params.decay_interval
        for card in self._cards.values():
            if card.topics:
                self._refresh_topics(card, intervals, now)
            if card.behaviour:
                card.behaviour = self._decay(card.behaviour, params.behaviour_penalty_decay, intervals)
            card.score = self._total(card)
        expired = []
        for peer, (until, _) in self._retained.items():
            if until > now:
                break
            expired.append(peer)
        for peer in expired:
            del self._retained[peer]

    def _refresh_topics(self, card: Scorecard, intervals: int, now: float) -> None:
        idle = []
        for topic, stats in card.topics.items():
            params = stats.params
            if stats.first:
                stats.first = self._decay(stats.first, params.first_message_deliveries_decay, intervals)
            if stats.mesh_deliveries:
                stats.mesh_deliveries = self._decay(
                    stats.mesh_deliveries, params.mesh_message_deliveries_decay, intervals
                )
            if stats.failures:
                stats.failures = self._decay(stats.failures, params.mesh_failure_penalty_decay, intervals)
            if stats.invalid:
                stats.invalid = self._decay(stats.invalid, params.invalid_message_deliveries_decay, intervals)
            if stats.grafted is not None:
                stats.mesh_time = now - stats.grafted
                stats.active = stats.mesh_time > params.mesh_message_deliveries_activation
            elif stats.idle():
                idle.append(topic)
        for topic in idle:
            del card.topics[topic]

    def _decay(self, value: float, factor: float, intervals: int) -> float:
        value *= factor if intervals == 1 else factor**intervals
        return value if value >= self._params.decay_to_zero else 0.0

    # --- the function ---------------------------------------------------------------------------------------------

    def _total(self, card: Scorecard) -> float:
        params = self._params
        total = 0.0
        for stats in card.topics.values():
            total += stats.params.topic_weight * sum(_topic_parts(stats))
        if total > params.topic_score_cap:
            total = params.topic_score_cap
        if card.application:
            total += params.app_specific_weight * card.application
        return total + self._p6(card) + self._p7(card)

    def conduct(self, card: Scorecard) -> float:
        """The score without P6: what the peer did itself, whoever shares its address."""
        return self._total(card) - self._p6(card)

    def _p6(self, card: Scorecard) -> float:
        surplus = self._addresses.get(card.address, 0) - self._params.ip_colocation_factor_threshold
        return self._params.ip_colocation_factor_weight * surplus**2 if surplus > 0 else 0.0

    def _p7(self, card: Scorecard) -> float:
        excess = card.behaviour - self._params.behaviour_penalty_threshold
        return self._params.behaviour_penalty_weight * excess**2 if excess > 0 else 0.0

    def report(self) -> list[PeerScore]:
        """The scores of connected peers as of now, in their parts."""
        return [
            PeerScore(
                peer,
                self._total(card),
                tuple(
                    TopicScore(
                        topic,
                        stats.grafted is not None,
                        *(stats.params.topic_weight * part for part in _topic_parts(stats)),
                    )
                    for topic, stats in card.topics.items()
                ),
                self._params.app_specific_weight * card.application,
                self._p6(card),
                self._p7(card),
            )
            for peer, card in self._cards.items()
        ]


def _topic_parts(stats: TopicStats) -> tuple[float, float, float, float, float]:
    """P1, P2, P3, P3b, P4, each with its weight, without the topic's."""
    params = stats.params
    p1 = 0.0
    if stats.grafted is not None:
        p1 = min(stats.mesh_time / params.time_in_mesh_quantum, params.time_in_mesh_cap) * params.time_in_mesh_weight
    return (
        p1,
        stats.first * params.first_message_deliveries_weight,
        stats.deficit() ** 2 * params.mesh_message_deliveries_weight,
        stats.failures * params.mesh_failure_penalty_weight,
        stats.invalid**2 * params.invalid_message_deliveries_weight,
    )

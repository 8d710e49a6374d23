"""Every number of the router, with its reason. The names are the specifications' ("Overview of New Parameters").

The defaults serve rooms of 2 to 10,000 members: in a small room everybody is in everybody's mesh, in a large one the
work of a node depends on D and not on the size. specs/gossipsub.md has the tables.
"""

from __future__ import annotations

from typing import Final

import msgspec

from nexusd_protocols import limits

KIB: Final = limits.KIB
MIB: Final = limits.MIB


def decay_over(seconds: float, interval: float = 1.0, to: float = 0.01) -> float:
    """The factor that brings 1 down to `to` in so many seconds, applied once an interval."""
    return float(to ** (interval / seconds))


class TopicScoreParams(msgspec.Struct, frozen=True, kw_only=True):
    """P1 to P4 of one topic (gossipsub-v1.1 "Peer Scoring")."""

    topic_weight: float = 1.0
    """Each room counts alike. `ScoreParams.topic_score_cap` bounds what many rooms earn together."""
    time_in_mesh_weight: float = 1 / 3600
    time_in_mesh_quantum: float = 1.0
    time_in_mesh_cap: float = 3600.0
    """P1 reaches 1 in an hour and stays: enough to settle a tie in favour of who is there, not to buy anything."""
    first_message_deliveries_weight: float = 1.0
    first_message_deliveries_decay: float = decay_over(600.0)
    first_message_deliveries_cap: float = 20.0
    """P2: at most 20, an eighth of what one invalid message costs; half is gone in 90 s, so that
    who stops to deliver (a censor, a covert flash) falls below the opportunistic threshold in 2 to 4 minutes."""
    mesh_message_deliveries_weight: float = 0.0
    mesh_message_deliveries_decay: float = decay_over(60.0)
    mesh_message_deliveries_cap: float = 100.0
    mesh_message_deliveries_threshold: float = 5.0
    mesh_message_deliveries_activation: float = 30.0
    mesh_message_deliveries_window: float = 0.01
    """P3 is off: it needs the expected rate of a topic, and a room is silent for hours. In a small room the slowest
    honest member never delivers anything first, nor nearly so: everybody had it already. It works if it is set."""
    mesh_failure_penalty_weight: float = 0.0
    mesh_failure_penalty_decay: float = decay_over(600.0)
    """P3b goes with P3."""
    invalid_message_deliveries_weight: float = -160.0
    invalid_message_deliveries_decay: float = decay_over(3600.0)
    """P4: a bad signature is never an accident, because connections are authenticated. One costs 160 and the place in
    the mesh, two the gossip, three own messages, the fifth at the latest the graylist; 9 minutes forgive half."""


class ScoreParams(msgspec.Struct, frozen=True, kw_only=True):
    """The peer score (gossipsub-v1.1 "Peer Scoring")."""

    topic: TopicScoreParams = msgspec.field(default_factory=TopicScoreParams)
    """For topics that are not in `topics`."""
    topics: dict[str, TopicScoreParams] = msgspec.field(default_factory=dict)
    topic_score_cap: float = 100.0
    """What a peer can earn by all topics: less than one invalid message costs, so that no merit buys misbehaviour."""
    app_specific_weight: float = 1.0
    ip_colocation_factor_weight: float = -20.0
    ip_colocation_factor_threshold: int = 10
    """P6: ten peers behind one address are an office or a small host of agents. 16 cost 720 each (no gossip), 22 make
    the graylist. The shell exempts loopback by giving no address."""
    behaviour_penalty_weight: float = -10.0
    behaviour_penalty_threshold: float = 6.0
    behaviour_penalty_decay: float = decay_over(600.0)
    """P7: six slips are forgiven, since back-offs and promises also fail by bad luck; 22 make the graylist. Half is
    forgiven in 90 s. The threshold is go-libp2p's: only what is over it is squared."""
    decay_interval: float = 1.0
    decay_to_zero: float = 0.01
    retain_score: float = 3600.0
    """Scores of departed peers, negative ones only, as in go-libp2p; a merit must be earned again. They do not decay
    meanwhile, so staying away helps nobody who comes back within the hour."""
    retained_scores: int = 4096
    """Departed peers remembered, the oldest forgotten first: about 4 MiB."""

    gossip_threshold: float = -500.0
    publish_threshold: float = -1000.0
    graylist_threshold: float = -2500.0
    """The steps of go-libp2p's largest deployment: gossip, own messages, everything."""
    accept_px_threshold: float = 1000.0
    """Out of reach of topic scores: only P5 lifts a peer so high."""
    opportunistic_graft_threshold: float = 2.0
    """Two fresh first deliveries. A mesh whose median is below it in a busy room has free riders; in a silent room
    nobody outside is above the median, and nothing happens."""

    def for_topic(self, topic: str) -> TopicScoreParams:
        """The parameters of one topic."""
        return self.topics.get(topic, self.topic)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a peer may make us hold or do."""

    rpc_bytes: int = 4 * MIB
    """As `pubsub.framing.RPC_BYTES` reads."""
    topic_bytes: int = limits.TOPIC_BYTES
    message_id_bytes: int = 128
    """Ours have 64 at most; those of other networks are hashes, or a PeerId and a number."""
    rpc_messages: int = 5000
    """In one RPC: `max_ihave_length`, because js-libp2p and py-libp2p answer an IWANT with one RPC, however many ids
    it names."""
    rpc_entries: int = 5000
    """Subscriptions, and control messages of each kind, in one RPC."""
    rpc_ids: int = 5000
    """Ids in the IHAVEs of one RPC, as many in its IWANTs and in its IDONTWANTs: `max_ihave_length`, which is what
    others send."""
    rpc_ids_unread: int = 45_000
    """Ids beyond those that one RPC may have and be honest: js-libp2p puts what it offers in all topics in one, up to
    `max_ihave_length` of each, and ten as busy topics are more than any host carries."""
    px_peers: int = 32
    """Peers in one PRUNE: others send 16."""
    px_record_bytes: int = 4 * KIB
    """One signed peer record: a key, a signature and a dozen addresses."""
    peer_topics: int = 1024
    """Subscriptions of one peer. Its rooms, and the rooms of all its agents."""
    topics_total: int = 65_536
    """Subscriptions of all peers, beyond which only joined topics are noted: at most 32 MiB with the longest names."""
    validations: int = 4096
    validations_per_peer: int = 1024
    validation_bytes: int = 64 * MIB
    """Messages being checked: a second of work (a signature takes 60 µs, storing about as much), a quarter for one
    peer. More are dropped unchecked, and come again by gossip."""
    validation_seconds: float = 30.0
    """A validator that has not answered by then hangs: the message counts as ignored."""
    rivals: int = 4
    """Different messages with one (author, wire id) that are checked at once: three forgeries do not hide the real one,
    and who forges pays by P4 for each."""
    seen_messages: int = 262_144
    """About 2,000 a second for `seen_ttl`, at 310 bytes each 80 MiB. With more the time is shorter."""
    cache_bytes: int = 64 * MIB
    """Data in the message cache. With more the windows are shorter."""
    same_id: int = 4
    """Messages of several authors under one wire id, that IHAVE lists and IWANT is answered with (design: nobody can
    shadow another's message)."""
    iwant_bytes: int = 16 * MIB
    """Data sent to one peer in answer to IWANTs, per heartbeat: more than it can be short of in a second."""
    dont_want: int = 4096
    """Ids of one peer's IDONTWANTs that are remembered, the oldest forgotten first: a busy room has 1,000 messages a
    second, for `idontwant_ttl`. About 1 MiB with the longest ids."""
    backoffs: int = 4096
    """Peers in back-off in one topic, the oldest forgotten first; those who are connected fit."""
    max_backoff: float = 3600.0
    """The longest back-off that a peer can ask for."""
    promises: int = 4096
    """IWANT promises under way: ten IHAVEs a heartbeat of a hundred peers for three seconds is 3,000."""


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """The router (gossipsub-v1.0 "Parameters", v1.1 "Overview of New Parameters", v1.2 "Parameters"). Seconds, bytes,
    counts."""

    d: int = 6
    d_low: int = 4
    d_high: int = 12
    d_lazy: int = 6
    """The specification's recommendation, and what the published peers run."""
    d_score: int = 4
    d_out: int = 2
    """The specification's recommendation for a D of 6."""
    heartbeat_interval: float = 1.0
    fanout_ttl: float = 60.0
    mcache_len: int = 5
    mcache_gossip: int = 3
    seen_ttl: float = 120.0
    """Windows are heartbeats; all are the specification's."""
    gossip_factor: float = 0.25
    """The specification's: three rounds reach each peer with 58 %, and in a mesh of meshes everybody."""
    flood_publish_bytes: int = 16 * KIB
    """Own messages up to this size go to every subscriber we know, larger ones to the mesh only: 256 KiB to 200 peers
    would fill an uplink for minutes, and the mesh brings it as surely. 0 turns flood publishing off."""

    greet: bool = True
    """Ours: a subscriber is grafted at once where D_low members are missing, and is offered the recent messages. By the
    specification it waits for a heartbeat, and in a small room hears nothing of what was said until then."""

    prune_backoff: float = 60.0
    unsubscribe_backoff: float = 10.0
    """After leaving a topic: who comes back should find a mesh. go-libp2p's value."""
    backoff_slack: float = 1.0
    """Heartbeats of two nodes differ by up to one: we wait this much longer than we demand."""
    graft_flood: float = 10.0
    """A GRAFT so soon after a PRUNE was no mistake of timing, and costs twice. go-libp2p's value."""
    do_px: bool = False
    px_peers: int = 16
    """Peer exchange in our PRUNEs: off, because peers are found by better means (DHT, hubs) and lists of strangers
    invite eclipse. Who turns it on offers more than D_high."""
    accept_px: bool = False
    """Whether `PeerExchange` is ever put out."""

    opportunistic_graft_ticks: int = 60
    opportunistic_graft_peers: int = 2
    """The specification's: a minute, two peers."""

    max_ihave_messages: int = 10
    max_ihave_length: int = 5000
    """RPCs with IHAVEs of one peer per heartbeat, and ids asked of it. go-libp2p's values."""
    gossip_retransmission: int = 3
    """How often one peer gets one message by IWANT. go-libp2p's value."""
    iwant_followup: float = 3.0
    """How long an IHAVE's promise may take. go-libp2p's value."""

    flood_factor: int = 10
    """Ours: what is over the caps for IHAVE, IWANT and IDONTWANT is not looked at. Over so many times as much, each RPC
    with control messages is a slip (P7): implementations count differently, but not by so much."""

    idontwant_threshold: int = KIB
    """Only for messages with this much data: for smaller ones the copy costs less than saying so. go-libp2p's value;
    stock py-libp2p, which says so for every message, spends 70 % more CPU a delivery."""
    max_idontwant_messages: int = 1000
    max_idontwant_length: int = 10
    """IDONTWANTs of one peer per heartbeat, and ids in each. go-libp2p's values; we send no more either."""
    idontwant_ttl: float = 3.0
    """How long an IDONTWANT is remembered: copies of a message are on their way no longer. go-libp2p's value."""

    score: ScoreParams = msgspec.field(default_factory=ScoreParams)
    bounds: Bounds = msgspec.field(default_factory=Bounds)

    def __post_init__(self) -> None:
        """Raises ValueError for what the specification excludes."""
        score = self.score
        # gossipsub-v1.1 "Outbound Mesh Quotas": below D_low, at most D/2. All zero is a bootstrapper without a mesh.
        if not (0 <= self.d_low <= self.d <= self.d_high and self.d_score <= self.d_high):
            raise ValueError("D_low <= D <= D_high and D_score <= D_high expected")
        if self.d and not (self.d_out < max(1, self.d_low) and self.d_out <= self.d // 2):
            raise ValueError("D_out is below D_low and at most D/2")
        if not 0 < self.mcache_gossip <= self.mcache_len:
            raise ValueError("the windows of gossip are windows of the cache")
        # gossipsub-v1.1 "Score Thresholds"
        if not score.graylist_threshold < score.publish_threshold <= score.gossip_threshold < 0:
            raise ValueError("graylist < publish <= gossip < 0 expected")
        if score.accept_px_threshold < 0 or score.opportunistic_graft_threshold < 0:
            raise ValueError("these thresholds are not negative")

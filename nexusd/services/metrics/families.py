"""What is measured: each metric, what it means, and where its figure comes from.

The figures are plain counters that their owners keep anyway; they are read when somebody asks, and cost nothing until
then. Labels are bounded: the only one that varies is the room, of which a daemon joins so many at most.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from nexusd.host.ports import ExchangeStats
from nexusd.services.metrics.loop_lag import LoopLag
from nexusd_protocols.gossipsub.counters import Counters
from nexusd_protocols.rpc.schema import ConnectionUsage, RoomStats

Kind = Literal["gauge", "counter"]


@dataclass(frozen=True, slots=True)
class Gossip:
    """What the topics' router and its queues counted. Drops are RPCs, and verdicts that came too late."""

    counters: Counters
    dropped_forwarded: int
    dropped_gossip: int
    verdicts_late: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """What content takes, and what was exchanged of it. `damaged` blocks are not there again yet, of all that were
    `found_damaged` since the start; `others` are bytes kept for others."""

    blocks: int
    bytes: int
    file_bytes: int
    others: int
    others_limit: int
    disk_free: int
    damaged: int
    found_damaged: int
    uploads: int
    fetches: int
    exchange: ExchangeStats


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Whom to ask."""

    version: str
    started_at: int
    connections: Callable[[], ConnectionUsage]
    peers: Callable[[], tuple[int, int]]
    bans: Callable[[], int]
    streams: Callable[[], tuple[int, int]]
    """Open inbound ones, and refused ones."""
    gossip: Callable[[], Gossip]
    calls: Callable[[], tuple[int, int]]
    """Under way: made, and answered."""
    events: Callable[[], int]
    rooms: Callable[[], Sequence[RoomStats]]
    storage: Callable[[], Awaitable[Storage]]
    loop_lag: LoopLag


@dataclass(frozen=True, slots=True)
class Metric:
    """One of the daemon as a whole."""

    name: str
    kind: Kind
    help: str
    read: Callable[[Sources], float]


@dataclass(frozen=True, slots=True)
class StorageMetric:
    """One of content."""

    name: str
    kind: Kind
    help: str
    read: Callable[[Storage], float]


@dataclass(frozen=True, slots=True)
class RoomMetric:
    """One of each room that was joined, labelled `room`. Counters begin anew when a room is joined anew."""

    name: str
    kind: Kind
    help: str
    read: Callable[[RoomStats], float]


METRICS: Final = (
    Metric("nexusd_start_time_seconds", "gauge", "When the daemon started, Unix time", lambda s: s.started_at / 1000),
    Metric("nexusd_peers_connected", "gauge", "Peers with an open connection", lambda s: s.peers()[0]),
    Metric("nexusd_peers_known", "gauge", "Peers that are remembered", lambda s: s.peers()[1]),
    Metric("nexusd_peers_banned", "gauge", "Peers that are banned now", lambda s: s.bans()),
    Metric("nexusd_connections_open", "gauge", "Open connections, both ways", lambda s: s.connections().open),
    Metric("nexusd_connections_limit", "gauge", "Connections that may be open", lambda s: s.connections().limit),
    Metric(
        "nexusd_connections_inbound", "gauge", "Open connections that others made", lambda s: s.connections().inbound
    ),
    Metric(
        "nexusd_connections_inbound_limit",
        "gauge",
        "Connections made by others that may be open",
        lambda s: s.connections().inbound_limit,
    ),
    Metric(
        "nexusd_connections_in_transit",
        "gauge",
        "Connections that are not yet authenticated",
        lambda s: s.connections().in_transit,
    ),
    Metric(
        "nexusd_connections_refused",
        "counter",
        "Connections turned away or cut for want of room",
        lambda s: s.connections().refused,
    ),
    Metric("nexusd_streams_inbound", "gauge", "Open streams that others opened", lambda s: s.streams()[0]),
    Metric(
        "nexusd_streams_refused", "counter", "Streams refused because a peer had too many", lambda s: s.streams()[1]
    ),
    Metric("nexusd_calls_outgoing", "gauge", "Calls under way that this host made", lambda s: s.calls()[0]),
    Metric("nexusd_calls_incoming", "gauge", "Calls under way that this host answers", lambda s: s.calls()[1]),
    Metric("nexusd_events_stored", "counter", "Events in the log: messages and finished calls", lambda s: s.events()),
    Metric("nexusd_gossip_rpcs_received", "counter", "RPCs of GossipSub received", lambda s: s.gossip().counters.rpcs),
    Metric(
        "nexusd_gossip_rpcs_graylisted",
        "counter",
        "RPCs ignored for the score of their sender",
        lambda s: s.gossip().counters.graylisted,
    ),
    Metric(
        "nexusd_gossip_malformed",
        "counter",
        "Messages and entries of RPCs that could not be read",
        lambda s: s.gossip().counters.malformed,
    ),
    Metric(
        "nexusd_gossip_unwanted",
        "counter",
        "Messages of rooms that were not joined, and own ones that came back",
        lambda s: s.gossip().counters.unwanted,
    ),
    Metric("nexusd_gossip_grafts_sent", "counter", "GRAFTs sent", lambda s: s.gossip().counters.grafts_sent),
    Metric(
        "nexusd_gossip_grafts_received", "counter", "GRAFTs received", lambda s: s.gossip().counters.grafts_received
    ),
    Metric(
        "nexusd_gossip_grafts_refused",
        "counter",
        "GRAFTs answered by PRUNE",
        lambda s: s.gossip().counters.grafts_refused,
    ),
    Metric("nexusd_gossip_prunes_sent", "counter", "PRUNEs sent", lambda s: s.gossip().counters.prunes_sent),
    Metric(
        "nexusd_gossip_prunes_received", "counter", "PRUNEs received", lambda s: s.gossip().counters.prunes_received
    ),
    Metric(
        "nexusd_gossip_promises_broken",
        "counter",
        "Messages that a peer offered, and did not send when asked",
        lambda s: s.gossip().counters.promises_broken,
    ),
    Metric(
        "nexusd_gossip_heartbeats_skipped",
        "counter",
        "Heartbeats that were due while nothing ran: the host slept or is too busy",
        lambda s: s.gossip().counters.heartbeats_skipped,
    ),
    Metric(
        "nexusd_gossip_dropped_forwarded",
        "counter",
        "RPCs with messages that a slow peer did not get",
        lambda s: s.gossip().dropped_forwarded,
    ),
    Metric(
        "nexusd_gossip_dropped_gossip",
        "counter",
        "Offers of messages, and answers to requests, that a slow peer did not get",
        lambda s: s.gossip().dropped_gossip,
    ),
    Metric(
        "nexusd_gossip_verdicts_late",
        "counter",
        "Messages ignored because nobody judged them in time",
        lambda s: s.gossip().verdicts_late,
    ),
)

STORAGE_METRICS: Final = (
    StorageMetric("nexusd_content_blocks", "gauge", "Blocks on this host", lambda s: s.blocks),
    StorageMetric("nexusd_content_bytes", "gauge", "Their bytes", lambda s: s.bytes),
    StorageMetric("nexusd_content_file_bytes", "gauge", "What the file with them takes", lambda s: s.file_bytes),
    StorageMetric("nexusd_content_others_bytes", "gauge", "What is kept for others", lambda s: s.others),
    StorageMetric("nexusd_content_others_limit_bytes", "gauge", "What may be kept for them", lambda s: s.others_limit),
    StorageMetric("nexusd_content_disk_free_bytes", "gauge", "Room on the disk", lambda s: s.disk_free),
    StorageMetric("nexusd_content_damaged", "gauge", "Blocks found damaged and not had again yet", lambda s: s.damaged),
    StorageMetric(
        "nexusd_content_found_damaged", "counter", "Blocks that were found damaged", lambda s: s.found_damaged
    ),
    StorageMetric("nexusd_content_puts", "gauge", "Puts under way", lambda s: s.uploads),
    StorageMetric("nexusd_content_fetches", "gauge", "Things being fetched", lambda s: s.fetches),
    StorageMetric("nexusd_bitswap_peers", "gauge", "Connected peers that exchange blocks", lambda s: s.exchange.peers),
    StorageMetric("nexusd_bitswap_wants", "gauge", "Blocks that they want of us", lambda s: s.exchange.wants),
    StorageMetric("nexusd_bitswap_blocks_sent", "counter", "Blocks sent", lambda s: s.exchange.blocks_sent),
    StorageMetric("nexusd_bitswap_sent_bytes", "counter", "Their bytes", lambda s: s.exchange.bytes_sent),
    StorageMetric("nexusd_bitswap_blocks_received", "counter", "Blocks received", lambda s: s.exchange.blocks_received),
    StorageMetric("nexusd_bitswap_received_bytes", "counter", "Their bytes", lambda s: s.exchange.bytes_received),
    StorageMetric(
        "nexusd_bitswap_duplicates", "counter", "Blocks that came twice, or too late", lambda s: s.exchange.duplicates
    ),
    StorageMetric("nexusd_bitswap_unasked", "counter", "Blocks that nobody wanted", lambda s: s.exchange.unasked),
)

ROOM_METRICS: Final = (
    RoomMetric("nexusd_room_peers", "gauge", "Connected peers subscribed to the room", lambda r: r.peers),
    RoomMetric("nexusd_room_mesh_peers", "gauge", "Peers that exchange messages with us directly", lambda r: r.mesh),
    RoomMetric("nexusd_room_published", "counter", "Our own messages", lambda r: r.published),
    RoomMetric("nexusd_room_delivered", "counter", "New and valid messages of others", lambda r: r.delivered),
    RoomMetric("nexusd_room_duplicates", "counter", "Copies of messages that were known", lambda r: r.duplicates),
    RoomMetric("nexusd_room_rejected", "counter", "Messages wrongly signed or unreadable", lambda r: r.rejected),
    RoomMetric(
        "nexusd_room_ignored", "counter", "Messages that were not acceptable to this daemon", lambda r: r.ignored
    ),
    RoomMetric(
        "nexusd_room_throttled", "counter", "Messages dropped unchecked: too many at a time", lambda r: r.throttled
    ),
    RoomMetric("nexusd_room_forwarded", "counter", "Copies of messages sent, own ones too", lambda r: r.forwarded),
    RoomMetric("nexusd_room_dropped", "counter", "Copies that a slow peer did not get", lambda r: r.dropped),
    RoomMetric(
        "nexusd_room_received_bytes",
        "counter",
        "Bytes of messages received, duplicates too",
        lambda r: r.bytes_received,
    ),
    RoomMetric("nexusd_room_sent_bytes", "counter", "Bytes of messages sent", lambda r: r.bytes_sent),
    RoomMetric(
        "nexusd_room_offers_received", "counter", "Messages that others offered (IHAVE)", lambda r: r.offers_received
    ),
    RoomMetric("nexusd_room_offers_sent", "counter", "Messages offered to others (IHAVE)", lambda r: r.offers_sent),
    RoomMetric("nexusd_room_requests_sent", "counter", "Offered messages asked for (IWANT)", lambda r: r.requests_sent),
    RoomMetric("nexusd_room_requests_answered", "counter", "Messages sent to who asked", lambda r: r.requests_answered),
    RoomMetric(
        "nexusd_room_promises_broken", "counter", "Offered messages that did not come", lambda r: r.promises_broken
    ),
)

BUILD: Final = "nexusd_build"
BUILD_HELP: Final = "Always 1; the label tells the version"
LOOP_LAG: Final = "nexusd_loop_lag_seconds"
LOOP_LAG_HELP: Final = "How late the event loop woke up, once a second"


@dataclass(frozen=True, slots=True)
class Family:
    """A metric as read now: samples are label values and figures."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    samples: tuple[tuple[tuple[str, ...], float], ...]


def read(sources: Sources, storage: Storage) -> list[Family]:
    """All of them but the histogram."""
    rooms = sources.rooms()
    return [
        Family(BUILD + "_info", "gauge", BUILD_HELP, ("version",), (((sources.version,), 1.0),)),
        *(Family(each.name, each.kind, each.help, (), (((), float(each.read(sources))),)) for each in METRICS),
        *(Family(each.name, each.kind, each.help, (), (((), float(each.read(storage))),)) for each in STORAGE_METRICS),
        *(
            Family(
                each.name,
                each.kind,
                each.help,
                ("room",),
                tuple(((room.room,), float(each.read(room))) for room in rooms),
            )
            for each in ROOM_METRICS
        ),
    ]

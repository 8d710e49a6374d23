"""What the daemon tells of itself, composed: its status, and its metrics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from nexusd import __version__
from nexusd.composition import Composition
from nexusd.config import Config
from nexusd.host.node import Node
from nexusd.ready import ReadyInfo
from nexusd.services.metrics import Gossip, LoopLag, Metrics, Sources, Storage
from nexusd.services.node import Facts, Gauges, NodeInfo
from nexusd.services.ports import WallClock
from nexusd_bootstrap.cascade import Cascade
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.rpc.schema import ConfigShow, ConnectionUsage


def node_info(
    config: Config,
    info: ReadyInfo,
    started_at: int,
    clock: WallClock,
    request_stop: Callable[[], None],
    node: Node,
    parts: Composition,
    cascade: Cascade,
) -> NodeInfo:
    """The daemon as a whole."""
    agent = AgentId(info.peer_id)
    facts = Facts(
        name=config.name,
        peer_id=PeerId(info.peer_id),
        agent=agent,
        role=config.role,
        data_dir=config.data_dir,
        socket=Path(info.socket),
        started_at=started_at,
        config=ConfigShow(values=config.values()),
    )
    gauges = Gauges(
        addresses=node.addresses,
        peers=lambda: parts.peers.counts,
        connections=lambda: _connections(node),
        rooms=parts.rooms.names,
        capabilities=partial(parts.capabilities.names, agent),
        discovery=lambda: {
            source.name: f"{source.state}: {source.detail}" if source.detail else source.state
            for source in cascade.describe()
        },
    )
    return NodeInfo(facts, gauges, clock, request_stop)


def metrics(started_at: int, clock: WallClock, node: Node, parts: Composition, loop_lag: LoopLag) -> Metrics:
    """Figures of every part."""

    def gossip() -> Gossip:
        drops = node.topics.drops
        return Gossip(node.topics.router.counters, drops.forwarded, drops.gossip, drops.verdicts_late)

    async def storage() -> Storage:
        usage = await parts.content.usage()
        return Storage(
            blocks=usage.blocks,
            bytes=usage.bytes,
            file_bytes=usage.file_bytes,
            others=usage.others,
            others_limit=usage.others_limit,
            disk_free=usage.disk_free,
            damaged=usage.damaged_count,
            found_damaged=parts.content.found_damaged,
            uploads=usage.uploads,
            fetches=usage.fetches,
            exchange=node.exchange.stats(),
        )

    return Metrics(
        Sources(
            version=__version__,
            started_at=started_at,
            connections=lambda: _connections(node),
            peers=lambda: parts.peers.counts,
            bans=lambda: len(parts.policy.bans.holding(clock())),
            streams=node.stream_usage,
            gossip=gossip,
            calls=lambda: parts.capabilities.open_calls,
            events=parts.events.newest,
            rooms=parts.rooms.figures,
            storage=storage,
            loop_lag=loop_lag,
        )
    )


def _connections(node: Node) -> ConnectionUsage:
    usage = node.connection_usage()
    return ConnectionUsage(
        open=usage.open,
        limit=usage.most,
        inbound=usage.inbound,
        inbound_limit=usage.most_inbound,
        in_transit=usage.in_transit,
        refused=usage.refused,
    )

"""The composition root: everything is made here, once, and handed to what needs it.

    start:  lock -> key -> store -> host -> services -> discovery -> socket (last: whoever can connect can work)
    stop:   socket first, so that nothing new begins; goodbyes; host; store (the last commit)

One nursery runs it all. A bug in any part ends the daemon, loudly: half a daemon helps nobody.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import structlog
import trio

from nexusd import __version__, clock, discovery, keystore, listen, lockfile, paths, payment, publication
from nexusd.agents import Agents
from nexusd.api import metrics_http, socket
from nexusd.api.ports import Services
from nexusd.checks import metrics_address
from nexusd.config import Config
from nexusd.host.dht import PointerRecords
from nexusd.host.limits import descriptors
from nexusd.host.limits.figures import Figures
from nexusd.host.node import Node
from nexusd.ready import ReadyInfo
from nexusd.services.bans import Bans
from nexusd.services.capabilities import Capabilities
from nexusd.services.content import Budgets, Content
from nexusd.services.directory import Directory
from nexusd.services.events import Events
from nexusd.services.inbox import Inbox
from nexusd.services.metrics import Gossip, LoopLag, Metrics, Sources, Storage
from nexusd.services.node import Facts, Gauges, NodeInfo
from nexusd.services.peers import Peers
from nexusd.services.policy import Policy
from nexusd.services.ports import LiveEvent, Persona, WallClock
from nexusd.services.profile import Profiles
from nexusd.services.rooms import Rooms
from nexusd.services.screening import Screen
from nexusd.store import Store
from nexusd_bootstrap.cascade import Cascade
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import AgentId, PeerId, Signer
from nexusd_protocols.ids import RoomId
from nexusd_protocols.pointer.documents import Price
from nexusd_protocols.rpc.schema import ConfigShow, ConnectionUsage

log = structlog.get_logger(__name__)

DRAIN_S: Final = 3.5
"""For goodbyes and open calls; with the host's two seconds at most this stays under the five that a stop may take."""
EXIT_DISK_FAILED: Final = 74
"""EX_IOERR of sysexits.h: a service manager that restarts us on failure does the right thing."""
KEY_FILE: Final = "node.key"
STORE_FILE: Final = "nexusd.sqlite"


def run(config: Config, *, ready: Callable[[ReadyInfo], None]) -> int:
    """Run a daemon until a signal or a request stops it. Returns the exit code."""
    with lockfile.hold(config.data_dir):
        signer = keystore.load_or_create(config.data_dir / KEY_FILE)
        return trio.run(_serve, config, signer, ready)


async def _serve(config: Config, signer: Signer, ready: Callable[[ReadyInfo], None]) -> int:
    stop = trio.Event()
    exit_code = 0
    async with trio.open_nursery() as nursery:
        await nursery.start(_stop_on_signals, stop)
        async with daemon(config, signer, request_stop=stop.set) as running:
            info = running.info
            ready(info)
            log.info("ready", name=info.name, peer=info.peer_id, addresses=info.addresses)
            async with trio.open_nursery() as watch:
                watch.start_soon(_stop_when_the_disk_fails, running.store, stop)
                await stop.wait()
                watch.cancel_scope.cancel()
            log.info("stopping")
            exit_code = EXIT_DISK_FAILED if running.store.failed else 0
        nursery.cancel_scope.cancel()
    log.info("stopped")
    return exit_code


async def _stop_when_the_disk_fails(store: Store, stop: trio.Event) -> None:
    """After a failed fsync nobody knows what is on the disk: only a restart, with its recovery, finds out."""
    error = await store.wait_failed()
    log.critical("disk_failed", error=str(error))
    stop.set()


async def _stop_on_signals(stop: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        task_status.started()
        async for number in received:
            if stop.is_set():
                log.warning("stopping_now", signal=signal.Signals(number).name)
                os._exit(1)  # asked twice: the drain is stuck, and every acknowledged write is on disk
            stop.set()


def _figures(config: Config) -> Figures:
    """The limits on connections: as configured, and never more than the process has descriptors for."""
    wanted = replace(
        Figures.scaled(config.max_connections, config.max_inbound),
        address_connections=config.max_per_address,
        limit_loopback=config.limit_loopback,
    )
    allowed = descriptors.raise_limit()
    figures = wanted.within(allowed)
    if figures != wanted:
        log.warning("few_descriptors", limit=allowed, connections=figures.connections, wanted=wanted.connections)
    return figures


@asynccontextmanager
async def daemon(
    config: Config,
    signer: Signer,
    *,
    request_stop: Callable[[], None],
    wall_clock: WallClock = clock.now_ms,
    transports: Sequence[Any] | None = None,
) -> AsyncIterator[Running]:
    """A running daemon, from socket to store. Leaving the context drains it. `transports` are the host's instead of TCP
    and WebSocket: a simulation brings its own network, and its own clock."""
    async with Store.open(config.data_dir / STORE_FILE) as store:
        node = Node(
            signer,
            listen=listen.addresses(config),
            role=config.role,
            transports=transports,
            agent_version=f"nexusd/{__version__}",
            relays=config.relay,
            direct=config.direct,
            schema=PointerRecords(wall_clock),
            shelf=store.dht,
            wall_clock=wall_clock,
            figures=_figures(config),
        )
        async with trio.open_nursery() as nursery:
            running = await _start(nursery, config, signer, store, node, wall_clock, request_stop)
            try:
                yield running
            finally:
                with trio.move_on_after(DRAIN_S, shield=True):
                    await running.drain()
                with trio.CancelScope(shield=True):
                    await node.aclose()
                nursery.cancel_scope.cancel()


class _Door:
    """The socket in a task of its own, so that it can be closed before what stands behind it."""

    def __init__(self, path: Path, services: Services) -> None:
        self._path = path
        self._services = services
        self._scope = trio.CancelScope()
        self._closed = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            with self._scope:
                await socket.serve(self._path, self._services, task_status=task_status)
        finally:
            self._closed.set()

    async def aclose(self) -> None:
        self._scope.cancel()
        await self._closed.wait()


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that is up: who it is, what it does, and how it ends."""

    info: ReadyInfo
    store: Store
    services: Services
    door: _Door
    capabilities: Capabilities
    rooms: Rooms
    directory: Directory

    async def drain(self) -> None:
        """Nothing new begins; what runs is ended with a reason; the rooms hear that we go, and the DHT."""
        await self.door.aclose()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.directory.say_goodbye)
            await self.capabilities.aclose()
            await self.rooms.say_goodbye()


async def _start(
    nursery: trio.Nursery,
    config: Config,
    signer: Signer,
    store: Store,
    node: Node,
    now: WallClock,
    request_stop: Callable[[], None],
) -> Running:
    started_at = now()
    agents = Agents(signer)
    random = Random(secrets.randbits(64))  # noqa: S311 - for jitter; what must be unpredictable comes from `secrets`
    profiles = Profiles(agents, store, config.agent_type)
    await profiles.load()

    # a few of them need each other: what is only called later is named before it is made
    def emit(event: LiveEvent) -> None:
        events.emit(event)

    def persona(agent: AgentId) -> Persona:
        return Persona(profiles.shown_name(agent), profiles.of(agent).agent_type, tuple(capabilities.names(agent)))

    async def announce(agent: AgentId) -> None:
        directory.changed()
        await rooms.announce(agent)

    def checkpointed(room: RoomId, cid: Cid) -> None:
        directory.checkpointed(room, cid)

    def rooms_changed() -> None:
        directory.changed()

    def advertised(peer: PeerId, capability: str) -> Price | None:
        return directory.advertised(peer, capability)

    def name_of(agent: str) -> str | None:
        return profiles.shown_name(AgentId(agent)) if agents.hosts(agent) else peers.name_of(agent)

    policy = Policy(publication.trust_lists(config), now)
    peers = Peers(node, store, emit, now, random, policy, node.topics.scores, node.direct)
    bans = Bans(
        policy=policy,
        network=node,
        store=store,
        emit=emit,
        clock=now,
        resolve=peers.resolve,
        readmit=peers.readmit,
    )
    events = Events(store, name_of)
    payments, networks = payment.payments(
        agents=agents,
        config=config,
        store=store,
        clock=now,
        entropy=secrets.token_bytes,
        emit=emit,
        resolve=peers.resolve,
        advertised=advertised,
    )
    capabilities = Capabilities(
        agents=agents,
        streams=node.streams,
        store=store,
        emit=emit,
        clock=now,
        entropy=secrets.token_bytes,
        admit=peers.admit,
        policy=policy,
        persona_of=persona,
        learn_name=peers.named,
        changed=announce,
        till=payments.till,
        purse=payments.purse,
        screen=Screen(config.key_material_calls),
        free_calls=config.free_calls,
    )
    content = Content(
        agents=agents,
        store=store,
        exchange=node.exchange,
        names=node.dht,
        emit=emit,
        clock=now,
        entropy=secrets.token_bytes,
        resolve=peers.resolve,
        budgets=Budgets(config.storage_total, config.storage_room),
        autopin=config.autopin,
        directory=config.data_dir,
    )
    spoken = Screen(config.key_material_messages)
    rooms = Rooms(
        agents=agents,
        topics=node.topics,
        store=store,
        emit=emit,
        clock=now,
        entropy=secrets.token_bytes,
        persona_of=persona,
        name_of=name_of,
        learn_name=peers.named,
        policy=policy,
        penalise=node.penalise,
        resolve=peers.resolve,
        streams=node.streams,
        exchange=node.exchange,
        random=random,
        referred=content.referred,
        log_budget=config.room_log,
        room_for=content.room_for,
        checkpointed=checkpointed,
        changed=rooms_changed,
        screen=spoken,
    )
    peers.on_readmit(rooms.readmitted)
    profiles.on_change(announce)
    directory = publication.directory(
        agents=agents,
        config=config,
        node=node,
        store=store,
        clock=now,
        random=random,
        policy=policy,
        name_of=name_of,
        profiles=profiles,
        peers=peers,
        rooms=rooms,
        capabilities=capabilities,
        content=content,
    )
    inbox = Inbox(
        agents=agents,
        streams=node.streams,
        store=store,
        clock=now,
        entropy=secrets.token_bytes,
        admit=peers.admit,
        resolve=peers.resolve,
        name_of=name_of,
        screen=spoken,
    )

    await peers.load()
    await bans.load()
    await inbox.load()
    node.set_known(lambda peer: peers.vouched(peer) or inbox.wrote_to(peer))
    await payments.load(payment.password_of(config))
    await capabilities.load()
    await nursery.start(capabilities.run)
    await nursery.start(bans.run)
    await nursery.start(payments.run)
    await nursery.start(networks.run)
    await content.load()
    node.exchange.set_source(content.source())
    await nursery.start(node.run)
    await nursery.start(content.run)
    cascade = Cascade(discovery.sources(config, node, peers))  # it announces the addresses that we now listen on
    await nursery.start(peers.run)
    await nursery.start(rooms.run)
    nursery.start_soon(directory.run)
    nursery.start_soon(discovery.discover, cascade, peers)

    socket_path = paths.place_socket(config.data_dir)
    info = ReadyInfo(
        name=config.name,
        peer_id=signer.peer_id,
        addresses=node.addresses(),
        data_dir=str(config.data_dir),
        socket=str(socket_path),
        pid=os.getpid(),
        in_data_home=config.data_dir == paths.data_dir_of(config.name),
    )
    services = Services(
        node=_node_info(config, signer, info, started_at, now, request_stop, node, peers, rooms, capabilities, cascade),
        metrics=_metrics(nursery, started_at, now, node, peers, policy, rooms, capabilities, content, events),
        peers=peers,
        bans=bans,
        profile=profiles,
        rooms=rooms,
        inbox=inbox,
        capabilities=capabilities,
        content=content,
        directory=directory,
        events=events,
        payments=payments,
        wallet=payments.wallet,
    )
    if config.metrics_listen:
        address, port = metrics_address(config.metrics_listen)
        await nursery.start(metrics_http.serve, str(address), port, services.metrics)
        log.info("metrics", address=f"http://{config.metrics_listen}/metrics")
    door = _Door(socket_path, services)
    await nursery.start(door.run)
    return Running(info, store, services, door, capabilities, rooms, directory)


def _node_info(
    config: Config,
    signer: Signer,
    info: ReadyInfo,
    started_at: int,
    now: WallClock,
    request_stop: Callable[[], None],
    node: Node,
    peers: Peers,
    rooms: Rooms,
    capabilities: Capabilities,
    cascade: Cascade,
) -> NodeInfo:
    facts = Facts(
        name=config.name,
        peer_id=signer.peer_id,
        agent=AgentId(signer.peer_id),
        role=config.role,
        data_dir=config.data_dir,
        socket=Path(info.socket),
        started_at=started_at,
        config=ConfigShow(values=config.values()),
    )
    gauges = Gauges(
        addresses=node.addresses,
        peers=lambda: peers.counts,
        connections=lambda: _connections(node),
        rooms=rooms.names,
        capabilities=partial(capabilities.names, AgentId(signer.peer_id)),
        discovery=lambda: {
            source.name: f"{source.state}: {source.detail}" if source.detail else source.state
            for source in cascade.describe()
        },
    )
    return NodeInfo(facts, gauges, now, request_stop)


def _metrics(
    nursery: trio.Nursery,
    started_at: int,
    now: WallClock,
    node: Node,
    peers: Peers,
    policy: Policy,
    rooms: Rooms,
    capabilities: Capabilities,
    content: Content,
    events: Events,
) -> Metrics:
    loop_lag = LoopLag()
    nursery.start_soon(loop_lag.run)

    def gossip() -> Gossip:
        drops = node.topics.drops
        return Gossip(node.topics.router.counters, drops.forwarded, drops.gossip, drops.verdicts_late)

    async def storage() -> Storage:
        usage = await content.usage()
        return Storage(
            blocks=usage.blocks,
            bytes=usage.bytes,
            file_bytes=usage.file_bytes,
            others=usage.others,
            others_limit=usage.others_limit,
            disk_free=usage.disk_free,
            damaged=usage.damaged_count,
            found_damaged=content.found_damaged,
            uploads=usage.uploads,
            fetches=usage.fetches,
            exchange=node.exchange.stats(),
        )

    return Metrics(
        Sources(
            version=__version__,
            started_at=started_at,
            connections=lambda: _connections(node),
            peers=lambda: peers.counts,
            bans=lambda: len(policy.bans.holding(now())),
            streams=node.stream_usage,
            gossip=gossip,
            calls=lambda: capabilities.open_calls,
            events=events.newest,
            rooms=rooms.figures,
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

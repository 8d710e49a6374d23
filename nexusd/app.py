"""The life of a daemon: what starts after what, and how it ends. `composition` makes the services and wires them.

    start:  lock -> key -> store -> host -> services -> discovery -> socket (last: whoever can connect can work)
    stop:   socket first, so that nothing new begins; goodbyes; host; store (the last commit)

One nursery runs it all. A bug in any part ends the daemon, loudly: half a daemon helps nobody.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import structlog
import trio

from nexusd import __version__, clock, discovery, gauges, keystore, listen, lockfile, paths, payment
from nexusd.api import metrics_http, socket
from nexusd.api.ports import Services
from nexusd.checks import metrics_address
from nexusd.composition import Composition
from nexusd.config import Config
from nexusd.host.dht import PointerRecords
from nexusd.host.limits import descriptors
from nexusd.host.limits.figures import Figures
from nexusd.host.node import Node
from nexusd.ready import ReadyInfo
from nexusd.services.capabilities import Capabilities
from nexusd.services.directory import Directory
from nexusd.services.metrics import LoopLag
from nexusd.services.ports import WallClock
from nexusd.services.rooms import Rooms
from nexusd.store import Store
from nexusd_bootstrap.cascade import Cascade
from nexusd_protocols.identity import Signer

log = structlog.get_logger(__name__)

DRAIN_S: Final = 3.5
"""For goodbyes and the last words of open calls; with the host's two seconds at most this stays under the five that a
stop may take."""
EXIT_DISK_FAILED: Final = 74
"""EX_IOERR of sysexits.h: a service manager that restarts us on failure does the right thing."""
YOUNG_OBJECTS: Final = 5000
"""Made before the collector looks for cycles among them. Some hundreds are those of a few calls under way, which it
would go through every time; next to nothing here has cycles."""
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
            # what is there now stays: to go through it again and again stopped all else for 80 ms each time
            gc.freeze()
            gc.enable()
            gc.set_threshold(YOUNG_OBJECTS)
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
    parts = Composition(config, signer, store, node, now)

    # what was there before the last stop
    await parts.profiles.load()
    await parts.peers.load()
    await parts.bans.load()
    await parts.inbox.load()
    password = payment.password_of(config)
    await parts.payments.load(password.text)
    await parts.capabilities.load()
    await nursery.start(parts.capabilities.run)
    await nursery.start(parts.bans.run)
    await nursery.start(parts.payments.run)
    await nursery.start(parts.networks.run)
    await parts.content.load()
    node.exchange.set_source(parts.content.source())

    # from here on others reach us, and we them
    await nursery.start(node.run)
    await nursery.start(parts.content.run)
    cascade = Cascade(discovery.sources(config, node, parts.peers))  # it announces the addresses that we now listen on
    await nursery.start(parts.peers.run)
    await nursery.start(parts.rooms.run)
    nursery.start_soon(parts.directory.run)
    nursery.start_soon(discovery.discover, cascade, parts.peers)
    loop_lag = LoopLag()
    nursery.start_soon(loop_lag.run)

    socket_path = paths.place_socket(config.data_dir)
    info = ReadyInfo(
        name=config.name,
        peer_id=signer.peer_id,
        addresses=node.addresses(),
        data_dir=str(config.data_dir),
        socket=str(socket_path),
        pid=os.getpid(),
        in_data_home=config.data_dir == paths.data_dir_of(config.name),
        wallet_locked=parts.payments.wallet.locked and (password.problem or parts.payments.wallet.locked),
    )
    services = Services(
        node=gauges.node_info(config, info, started_at, now, request_stop, node, parts, cascade),
        metrics=gauges.metrics(started_at, now, node, parts, loop_lag),
        peers=parts.peers,
        bans=parts.bans,
        profile=parts.profiles,
        rooms=parts.rooms,
        inbox=parts.inbox,
        capabilities=parts.capabilities,
        content=parts.content,
        directory=parts.directory,
        events=parts.events,
        payments=parts.payments,
        wallet=parts.payments.wallet,
    )
    if config.metrics_listen:
        address, port = metrics_address(config.metrics_listen)
        await nursery.start(metrics_http.serve, str(address), port, services.metrics)
        log.info("metrics", address=f"http://{config.metrics_listen}/metrics")
    door = _Door(socket_path, services)
    await nursery.start(door.run)
    return Running(info, store, services, door, parts.capabilities, parts.rooms, parts.directory)

"""A node on the network: implements `ports.Network`, and holds the streams, topics, DHT and exchange of the same host.

node = Node(signer, listen=["/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/tcp/4001/ws"], role="full")
await nursery.start(node.run)      # listening from here on; raises if it cannot
await node.connect(peer, addresses)
await node.aclose()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import Any, Final

import structlog
import trio
from libp2p.abc import ITransport
from libp2p.host.basic_host import BasicHost
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from nexusd import __version__, clock
from nexusd.host import interfaces
from nexusd.host.admission import Admission, boundless
from nexusd.host.autoconnect import dial_nobody
from nexusd.host.bitswap import Exchange
from nexusd.host.closing import close_connections, close_wholly
from nexusd.host.dht import Dht, NoRecords, RecordSchema, Role, Shelf
from nexusd.host.dialer import Dialer
from nexusd.host.direct import DirectPeers
from nexusd.host.duplicates import Duplicates
from nexusd.host.identify import Identify
from nexusd.host.keepalive import INTERVAL, Keepalive
from nexusd.host.limits.accounts import BAN_POINTS, Accounts
from nexusd.host.limits.figures import Figures
from nexusd.host.limits.gate import Gate, Usage
from nexusd.host.limits.origin import ip_of, origin_of
from nexusd.host.listener import ListenError, Listeners
from nexusd.host.loggers import quieten
from nexusd.host.opener import Opener
from nexusd.host.peer_feed import PeerEvents, PeerFeed
from nexusd.host.peer_table import PeerTable
from nexusd.host.ports import PeerIdentified
from nexusd.host.pubsub.topics import TopicMesh
from nexusd.host.relay import Circuits, Reservations
from nexusd.host.release import check_release
from nexusd.host.router import Router
from nexusd.host.security import key_pair_of, noise_only
from nexusd.host.slots import StreamSlots
from nexusd.host.stream_guard import Handler, StreamGuard
from nexusd.host.tcp import Tcp
from nexusd.host.websockets import WebSockets
from nexusd_protocols.identity import PeerId, Signer
from nexusd_protocols.yamux.bounds import Bounds
from nexusd_protocols.yamux.budget import Budget

_log = structlog.get_logger(__name__)

NEGOTIATE_SECONDS: Final = 10
FLUSH_SECONDS: Final = 0.5
FORGIVE_SECONDS: Final = 60.0
"""A tenth of the time in which a debt halves."""
DRAIN_SECONDS: Final = 2.0
"""From the wish to stop to the last closed connection."""
END_SECONDS: Final = 3.0
"""To the end of `run`: what libp2p has not stopped by then is cancelled."""


class Node:
    """One host. Make it, `run` it once, close it. `clock` is the loop's: call the constructor inside of a Trio run.

    `direct` are addresses `…/p2p/<peer>` of peers to stay connected to, and to send every message of our topics.
    `transports` replaces TCP and WebSocket (simulations bring their own network); `slots` and `bounds` are how many
    streams a peer and a connection may have, if not as many as usual. Raises RuntimeError for another
    py-libp2p than the one this was tested with.
    """

    def __init__(
        self,
        signer: Signer,
        *,
        listen: Sequence[str],
        role: Role = "full",
        transports: Sequence[ITransport] | None = None,
        agent_version: str = f"nexusd/{__version__}",
        known_addresses: dict[PeerId, Sequence[str]] | None = None,
        schema: RecordSchema | None = None,
        keepalive: float = INTERVAL,
        figures: Figures | None = None,
        relays: Sequence[str] = (),
        direct: Sequence[str] = (),
        shelf: Shelf | None = None,
        wall_clock: Callable[[], int] = clock.now_ms,
        slots: StreamSlots | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        check_release()
        quieten()
        self._signer = signer
        self._listen = list(listen)
        self._memory = transports is not None
        self._admit: Callable[[PeerId], bool] = lambda _peer: True
        # a stock host asks for its addresses while it is made
        self._relayed: Callable[[], list[str]] = list
        self._feed = PeerFeed()
        self._accounts = Accounts()
        self._convict: Callable[[PeerId, str, str], None] = lambda *_: None
        self._stop = trio.Event()
        self._stopped = trio.Event()
        self._running = False

        figures = figures or Figures()
        self._slots = slots or StreamSlots(figures.peer_streams, figures.protocol_streams, figures.open_streams)
        circuits = Circuits()
        # relayed addresses begin like others
        carriers = [circuits, *(transports if transports is not None else (Tcp(), WebSockets()))]
        # one table, in which py-libp2p's own parts register too
        handlers: dict[str, Handler] = {}
        self._swarm = self._stock_swarm(handlers, carriers, Budget(figures.peer_bytes), bounds)
        self._host = self._stock_host(handlers)
        self._gate = Gate(figures, self.balance)
        admission = Admission(self._swarm, self._gate, self._allowed, self._spawn)
        self._dialer = Dialer(self._swarm, signer.peer_id, self._allowed, self._homes, SystemRandom())
        for peer, addresses in (known_addresses or {}).items():
            self._dialer.remember(peer, addresses)
        self._opener = Opener(self._swarm)
        self._opener.take_over(self._host)
        self._identify = Identify(self._host, self._opener, agent_version, self._identified)
        self._keepalive = Keepalive(self._opener, self.connected, self.disconnect, keepalive)
        self.streams = Router(
            self._host, self._dialer, self._opener, self._slots, self.penalise, self._identify.changed
        )
        self._direct = DirectPeers(direct, own=signer.peer_id, connect=self.connect, random=SystemRandom())
        self._gate.set_known(self.direct.__contains__)
        self.topics = self._topic_mesh()
        self._peers = self._peer_table()
        self.dht = self._dht(role, schema or NoRecords(), shelf, wall_clock)
        self.exchange = Exchange(self.streams, signer.peer_id, self.penalise)
        self._reservations = self._relay_places(relays, admission, wall_clock)
        self._relayed = self._reservations.addresses
        circuits.start(self.connect, self._opener)
        self._listeners = Listeners([] if self._memory else self._listen, self._gate, admission.serve)
        self._nursery: trio.Nursery | None = None

    # --- the parts --------------------------------------------------------------------------------------------------
    def _stock_swarm(
        self, handlers: dict[str, Handler], transports: list[ITransport], budget: Budget, bounds: Bounds | None
    ) -> Swarm:
        """py-libp2p's, with our Noise and Yamux, and nothing that dials by itself."""
        own, keys = ID.from_string(self.peer_id), key_pair_of(self._signer)
        guard = StreamGuard(handlers, self._allowed, self._slots, self.penalise)
        upgrader = noise_only(keys, NEGOTIATE_SECONDS, budget, self.penalise, guard.serve, bounds)
        store = PeerStore()
        store.add_key_pair(own, keys)
        swarm = Swarm(own, store, upgrader, transports, connection_config=boundless(NEGOTIATE_SECONDS))
        dial_nobody(swarm)
        return swarm

    def _stock_host(self, handlers: dict[str, Handler]) -> BasicHost:
        host = BasicHost(
            self._swarm,
            negotiate_timeout=NEGOTIATE_SECONDS,
            addrs_factory=lambda _candidates: [Multiaddr(a) for a in self._advertised()],
            disable_identify_address_discovery=True,
        )
        handlers.update(host.get_mux().handlers)
        host.get_mux().handlers = handlers
        return host

    def _topic_mesh(self) -> TopicMesh:
        return TopicMesh(
            self._host,
            self._opener,
            self.peer_id,
            self.penalise,
            self._connection_of,
            chance=SystemRandom(),
            direct=self.direct,
        )

    def _peer_table(self) -> PeerTable:
        return PeerTable(
            self._swarm,
            Duplicates(self.peer_id, self._spawn),
            self._allowed,
            self._feed,
            self._spawn,
            self._arrived,
            self._left,
        )

    def _dht(self, role: Role, schema: RecordSchema, shelf: Shelf | None, now: Callable[[], int]) -> Dht:
        return Dht(
            self.peer_id,
            role,
            schema,
            streams=self.streams,
            connect=self._dialer.try_connect,
            remote=self._peers.remote,
            addresses=self._advertised,
            learned=self._dialer.remember,
            charge=self.penalise,
            clock=now,
            shelf=shelf,
        )

    def _relay_places(self, relays: Sequence[str], admission: Admission, now: Callable[[], int]) -> Reservations:
        places = Reservations(
            relays,
            opener=self._opener,
            connect=self.connect,
            connected=self._dialer.connected,
            accept=admission.take,
            charge=self.penalise,
            changed=self._identify.changed,
            now=now,
            random=SystemRandom(),
        )
        places.register(self._host)
        return places

    # --- life -------------------------------------------------------------------------------------------------------
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen, and serve until `aclose` or cancellation; started once listening. Raises ListenError."""
        if self._running:
            raise RuntimeError("a node runs once")
        self._running = True
        try:
            await self._listeners.bind()
            async with trio.open_nursery() as outer:
                outer.start_soon(self._stop_when_cancelled)
                # cancelling libp2p's services would leave connections open; they are stopped in order instead
                with trio.CancelScope(shield=True) as inner:
                    await self._serve(task_status, inner)
                outer.cancel_scope.cancel()
        finally:
            self._feed.close()
            self._stopped.set()

    async def _serve(self, task_status: trio.TaskStatus[None], scope: trio.CancelScope) -> None:
        async with (
            background_trio_service(self._swarm),
            trio.open_nursery() as nursery,
        ):
            self._start(nursery)
            await nursery.start(self.dht.run)
            try:
                if self._memory:
                    await self._listen_in_memory()
                self._listeners.serve(self._swarm, nursery)
                _log.info("listening", peer=self.peer_id, addresses=self._advertised())
                task_status.started()
                await self._stop.wait()
            finally:
                scope.deadline = trio.current_time() + END_SECONDS
                await self._drain()
                nursery.cancel_scope.cancel()

    async def _stop_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._stop.set()

    def _start(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        for part in (self._dialer, self._opener, self.streams, self.topics, self.exchange):
            part.start(nursery)
        nursery.start_soon(self._identify.run)
        nursery.start_soon(self._keepalive.run)
        nursery.start_soon(self._forgive)
        nursery.start_soon(self._reservations.run)
        nursery.start_soon(self._direct.run)

    async def _listen_in_memory(self) -> None:
        if self._listen and not await self._swarm.listen(*(Multiaddr(a) for a in self._listen)):
            raise ListenError(f"Cannot listen on {', '.join(self._listen)}")

    async def _drain(self) -> None:
        """Say what was queued, close connections (fault C12), stop the swarm; never longer than DRAIN_SECONDS."""
        with trio.move_on_after(DRAIN_SECONDS, shield=True):
            await self._listeners.close()
            with trio.move_on_after(FLUSH_SECONDS):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.dht.flush)
                    # a peer that takes nothing must not cost the others their echo
                    with trio.move_on_after(FLUSH_SECONDS / 2):
                        await self.topics.flush()
                    # a muxer drops what it has received when the connection closes: an echo says that it was read
                    await self._keepalive.round()
            await close_connections(self._swarm)
            await self._host.close()

    async def aclose(self) -> None:
        """End `run`, and return when it has ended."""
        self._stop.set()
        if self._running:
            await self._stopped.wait()

    # --- ports.Network ----------------------------------------------------------------------------------------------

    @property
    def peer_id(self) -> PeerId:
        """Who this node is."""
        return self._signer.peer_id

    def addresses(self) -> list[str]:
        """Where others reach this node, as `ports.Network.addresses`."""
        return [f"{address}/p2p/{self.peer_id}" for address in self._advertised()]

    def _advertised(self) -> list[str]:
        own = [each for address in self._bound() for each in interfaces.expand(address)]
        return list(dict.fromkeys([*own, *self._relayed()]))

    def _homes(self) -> list[str]:
        """Where this host listens: as it was bound, which says whether on all interfaces, and as others see it."""
        return [*self._bound(), *(each for address in self._bound() for each in interfaces.expand(address))]

    def _bound(self) -> list[str]:
        return [str(address) for listener in self._swarm.listeners.values() for address in listener.get_addrs()]

    async def connect(self, peer: PeerId, addresses: Sequence[str] = ()) -> None:
        """Have a connection, as `ports.Network.connect`."""
        await self._dialer.connect(peer, addresses)

    @property
    def direct(self) -> frozenset[PeerId]:
        """The peers that this node stays connected to, and sends every message (`host.direct`)."""
        return self._direct.peers

    async def disconnect(self, peer: PeerId) -> None:
        """Close every connection to the peer."""
        self.dht.forget(peer)
        await close_wholly(self._swarm.get_connections(ID.from_string(peer)))

    def connected(self) -> Sequence[PeerId]:
        """Peers with an open connection."""
        return self._peers.peers()

    def add_addresses(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Remember where a peer may be dialled."""
        self._dialer.remember(peer, addresses)

    def set_gate(self, allowed: Callable[[PeerId], bool]) -> None:
        """Ask this for each new connection, stream and dial, and of those who are connected now."""
        self._admit = allowed
        for peer in self._peers.peers():
            if not allowed(peer):
                self._spawn(self.disconnect, peer)

    def set_known(self, known: Callable[[PeerId], bool]) -> None:
        """Ask this which peers are no strangers: places are kept for them, and none of them goes for a stranger."""
        self._gate.set_known(lambda peer: peer in self.direct or known(peer))

    def connection_usage(self) -> Usage:
        """How many connections there are and may be."""
        return self._gate.usage()

    def stream_usage(self) -> tuple[int, int]:
        """Open inbound streams, and how many were refused since the start."""
        return self._slots.inbound, self._slots.refused

    def penalise(self, peer: PeerId, reason: str, points: int) -> None:
        """Charge a peer's account, log the line that a log watcher can act on, and have the peer judged if it owes too
        much."""
        now = trio.current_time()
        added = self._accounts.charge(peer, points, now)
        if not added:
            return
        balance = self._accounts.balance(peer, now)
        address = ip_of(self._peers.remote(peer))
        _log.info(
            "peer_penalised",
            peer=peer,
            address=address or "unknown",
            reason=reason,
            points=round(added),
            balance=round(balance, 1),
        )
        self.topics.charged(peer, balance)
        if balance >= BAN_POINTS:
            self.pardon(peer)
            self._convict(peer, reason, address)

    def set_judge(self, convict: Callable[[PeerId, str, str], None]) -> None:
        """Have peers judged that owe too much, as `ports.Network.set_judge`."""
        self._convict = convict

    def balance(self, peer: PeerId) -> float:
        """What a peer owes now, as `ports.Network.balance`."""
        return self._accounts.balance(peer, trio.current_time())

    def pardon(self, peer: PeerId) -> None:
        """Forget what a peer owes."""
        self._accounts.clear(peer)
        self.topics.charged(peer, 0.0)

    async def _forgive(self) -> None:
        """Debts fade, and the router's opinion of a peer with them."""
        while True:
            await trio.sleep(FORGIVE_SECONDS)
            for peer in self._peers.peers():
                self.topics.charged(peer, self._accounts.balance(peer, trio.current_time()))

    def peer_events(self) -> PeerEvents:
        """Peers that come, identify and go, from now on."""
        return self._feed.subscribe()

    def _connection_of(self, peer: PeerId) -> tuple[str, bool] | None:
        """Where a peer is connected from, in the size of a customer, since one who holds a /56 has addresses without
        end (nothing for loopback, where peers are many), and whether we dialled it."""
        for connection in self._swarm.get_connections(ID.from_string(peer)):
            if not connection.is_closed:
                remote = connection.muxed_conn.get_remote_address()
                origin = origin_of(remote[0] if remote else "")
                return "" if origin.loopback else origin.customer, connection.muxed_conn.is_initiator
        return None

    def _allowed(self, peer: PeerId) -> bool:
        return self._admit(peer)

    def _spawn(self, function: Callable[..., Any], *args: Any) -> None:
        if self._nursery is not None and not self._stopped.is_set():
            self._nursery.start_soon(_guarded, function, *args)

    def _arrived(self, peer: PeerId) -> None:
        self._dialer.arrived(peer)
        self._spawn(self._identify.ask, peer)

    def _left(self, peer: PeerId) -> None:
        self._identify.forget(peer)
        self.topics.left(peer)
        self.dht.left(peer)
        self.exchange.left(peer)
        self._reservations.left(peer)
        self._direct.left(peer)

    def _identified(self, said: PeerIdentified) -> None:
        self._dialer.remember(said.peer, said.listen_addresses)
        self._opener.learn(said.peer, said.protocols)
        self._feed.announce(said)
        self.topics.identified(said.peer, said.protocols)
        self.exchange.identified(said.peer, said.protocols)
        self._spawn(self.dht.identified, said)


async def _guarded(function: Callable[..., Any], *args: Any) -> None:
    """What a peer's coming or saying sets off: a bug in it is logged, and nobody outside can stop the host by it."""
    try:
        await function(*args)
    except Exception:
        _log.exception("background_task_failed", task=function.__qualname__)

"""The services of one daemon, made once and wired to one another. None of them knows another: they meet here.

A few need each other. What is only called later is a method here, and looks up the other when it is called.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from random import Random

from nexusd import payment, publication
from nexusd.agents import Agents
from nexusd.config import Config
from nexusd.host.node import Node
from nexusd.services.bans import Bans
from nexusd.services.capabilities import Capabilities
from nexusd.services.content import Budgets, Content
from nexusd.services.directory import Directory
from nexusd.services.events import Events
from nexusd.services.inbox import Inbox
from nexusd.services.peers import Peers
from nexusd.services.policy import Policy
from nexusd.services.ports import LiveEvent, Persona, WallClock
from nexusd.services.profile import Profiles
from nexusd.services.rooms import Rooms
from nexusd.services.screening import Screen
from nexusd.store import Store
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import AgentId, PeerId, Signer
from nexusd_protocols.ids import RoomId
from nexusd_protocols.payments.advertised import Price


class Composition:
    """All services, made and not yet running."""

    def __init__(self, config: Config, signer: Signer, store: Store, node: Node, clock: WallClock) -> None:
        self._config = config
        self._store = store
        self._node = node
        self._clock = clock
        self._random = Random(secrets.randbits(64))  # noqa: S311 - for jitter; what must be unpredictable comes from `secrets`
        self._agents = Agents(signer)
        self._spoken = Screen(config.key_material_messages)
        self.profiles = Profiles(self._agents, store, config.agent_type)
        self.policy = Policy(publication.trust_lists(config), clock)
        self.peers = Peers(node, store, self._emit, clock, self._random, self.policy, node.topics.scores, node.direct)
        self.bans = self._bans()
        self.events = Events(store, self._name_of)
        self.payments, self.networks = payment.payments(
            agents=self._agents,
            config=config,
            store=store,
            clock=clock,
            entropy=secrets.token_bytes,
            emit=self._emit,
            resolve=self.peers.resolve,
            advertised=self._advertised,
            acquainted=self._acquainted,
        )
        self.capabilities = self._capabilities()
        self.content = self._content()
        self.rooms = self._rooms()
        self.directory = self._directory()
        self.inbox = self._inbox()
        self.peers.on_readmit(self.rooms.readmitted)
        self.profiles.on_change(self._announce)
        node.set_known(self._knows)

    # --- what is made -------------------------------------------------------------------------------------------------
    def _bans(self) -> Bans:
        return Bans(
            policy=self.policy,
            network=self._node,
            store=self._store,
            emit=self._emit,
            clock=self._clock,
            resolve=self.peers.resolve,
            readmit=self.peers.readmit,
        )

    def _capabilities(self) -> Capabilities:
        return Capabilities(
            agents=self._agents,
            streams=self._node.streams,
            store=self._store,
            emit=self._emit,
            clock=self._clock,
            entropy=secrets.token_bytes,
            admit=self.peers.admit,
            policy=self.policy,
            persona_of=self._persona_of,
            learn_name=self.peers.named,
            changed=self._announce,
            till=self.payments.till,
            purse=self.payments.purse,
            screen=Screen(self._config.key_material_calls),
            free_calls=self._config.free_calls,
        )

    def _content(self) -> Content:
        return Content(
            agents=self._agents,
            store=self._store,
            exchange=self._node.exchange,
            names=self._node.dht,
            emit=self._emit,
            clock=self._clock,
            entropy=secrets.token_bytes,
            resolve=self.peers.resolve,
            budgets=Budgets(self._config.storage_total, self._config.storage_room),
            autopin=self._config.autopin,
            directory=self._config.data_dir,
        )

    def _rooms(self) -> Rooms:
        return Rooms(
            agents=self._agents,
            topics=self._node.topics,
            store=self._store,
            emit=self._emit,
            clock=self._clock,
            entropy=secrets.token_bytes,
            persona_of=self._persona_of,
            name_of=self._name_of,
            learn_name=self.peers.named,
            policy=self.policy,
            penalise=self._node.penalise,
            resolve=self.peers.resolve,
            streams=self._node.streams,
            exchange=self._node.exchange,
            random=self._random,
            referred=self.content.referred,
            log_budget=self._config.room_log,
            room_for=self.content.room_for,
            checkpointed=self._checkpointed,
            changed=self._rooms_changed,
            screen=self._spoken,
        )

    def _directory(self) -> Directory:
        return publication.directory(
            agents=self._agents,
            config=self._config,
            node=self._node,
            store=self._store,
            clock=self._clock,
            random=self._random,
            policy=self.policy,
            name_of=self._name_of,
            profiles=self.profiles,
            peers=self.peers,
            rooms=self.rooms,
            capabilities=self.capabilities,
            content=self.content,
            tokens=self.payments.purse.tokens,
        )

    def _inbox(self) -> Inbox:
        return Inbox(
            agents=self._agents,
            streams=self._node.streams,
            store=self._store,
            clock=self._clock,
            entropy=secrets.token_bytes,
            admit=self.peers.admit,
            resolve=self.peers.resolve,
            name_of=self._name_of,
            screen=self._spoken,
        )

    # --- what one asks of another -------------------------------------------------------------------------------------
    def _emit(self, event: LiveEvent) -> None:
        self.events.emit(event)

    def _persona_of(self, agent: AgentId) -> Persona:
        profiles = self.profiles
        return Persona(profiles.shown_name(agent), profiles.of(agent).agent_type, tuple(self.capabilities.names(agent)))

    def _name_of(self, agent: str) -> str | None:
        if self._agents.hosts(agent):
            return self.profiles.shown_name(AgentId(agent))
        return self.peers.name_of(agent)

    def _knows(self, peer: PeerId) -> bool:
        return self.peers.vouched(peer) or self.inbox.wrote_to(peer)

    def _acquainted(self, peer: PeerId) -> bool:
        return self._knows(peer) or peer in self._config.allow_peers

    async def _announce(self, agent: AgentId) -> None:
        self.directory.changed()
        await self.rooms.announce(agent)

    def _checkpointed(self, room: RoomId, cid: Cid) -> None:
        self.directory.checkpointed(room, cid)

    def _rooms_changed(self) -> None:
        self.directory.changed()

    def _advertised(self, peer: PeerId, capability: str) -> Sequence[Price]:
        return self.directory.advertised(peer, capability)

"""Part of the composition root: what the directory publishes of this node, and where it finds what it needs."""

from __future__ import annotations

from random import Random

from nexusd.agents import Agents
from nexusd.config import Config
from nexusd.host.node import Node
from nexusd.services.capabilities import Capabilities
from nexusd.services.content import Content
from nexusd.services.directory import CapabilityFacts, Directory, RoomFacts, Sources, StorageFacts
from nexusd.services.directory.ports import Surroundings
from nexusd.services.peers import Peers
from nexusd.services.policy import Policy, TrustList, TrustLists
from nexusd.services.ports import NameOf, WallClock
from nexusd.services.prices import own_price
from nexusd.services.profile import Profiles
from nexusd.services.rooms import Rooms
from nexusd.store import Store
from nexusd_protocols import limits
from nexusd_protocols.content.block import Block
from nexusd_protocols.payments.advertised import stated
from nexusd_protocols.payments.tokens import Tokens

_OWNER = "directory"


def directory(
    *,
    agents: Agents,
    config: Config,
    node: Node,
    store: Store,
    clock: WallClock,
    random: Random,
    policy: Policy,
    name_of: NameOf,
    profiles: Profiles,
    peers: Peers,
    rooms: Rooms,
    capabilities: Capabilities,
    content: Content,
    tokens: Tokens,
) -> Directory:
    """The directory of this node, wired to the rest of it."""
    agent = agents.first.id

    async def keep(block: Block, name: str) -> None:
        # longer than any pointer holds; one that is renewed is kept anew
        await content.keep(agent, _OWNER, [block], "retained", name)

    def rooms_now() -> list[RoomFacts]:
        return [
            RoomFacts(
                room=each.room,
                since=each.joined_at,
                description=each.description,
                retention=each.retention,
                members=each.view().members_online,
                mirror=each.mirror,
            )
            for each in rooms.kept()
        ]

    def capabilities_now() -> list[CapabilityFacts]:
        return [
            CapabilityFacts(
                name=each.name,
                description=each.options.description,
                streaming=each.streaming,
                max_input_bytes=each.options.max_input_bytes,
                max_duration_ms=each.options.timeout_ms,
                max_concurrent=each.options.max_concurrent,
                prices=tuple(map(stated, each.offers)),
                pricing="; or ".join(str(own_price(terms)) for terms in each.offers)[: limits.DESCRIPTION_CHARS]
                or "free",
            )
            for each in capabilities.offers(agent)
        ]

    return Directory(
        agents=agents,
        names=node.dht,
        store=store,
        clock=clock,
        random=random,
        resolve=peers.resolve,
        keep=keep,
        fetch=content.fetch_block,
        ask=capabilities.ask,
        sources=Sources(
            role=config.role,
            storage=StorageFacts(total=config.storage_total, room=config.storage_room, references=config.autopin),
            profile=lambda: profiles.of(agent),
            rooms=rooms_now,
            capabilities=capabilities_now,
            addresses=node.addresses,
        ),
        around=Surroundings(
            connected=node.connected,
            addresses_of=peers.addresses_of,
            name_of=name_of,
            allows=policy.allows,
            heard=rooms.offering,
        ),
        tokens=tokens,
    )


def trust_lists(config: Config) -> TrustLists:
    """Whom and what this node refuses."""
    return TrustLists(
        peers=TrustList(config.deny_peers, config.allow_peers),
        rooms=TrustList(config.deny_rooms, config.allow_rooms),
        capabilities=TrustList(config.deny_capabilities, config.allow_capabilities),
    )

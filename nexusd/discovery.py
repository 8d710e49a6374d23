"""Where this node looks for peers."""

from __future__ import annotations

import trio

from nexusd.config import Config
from nexusd.host.node import Node
from nexusd.services.peers import Peers
from nexusd_bootstrap.cache import Cache
from nexusd_bootstrap.cascade import Cascade
from nexusd_bootstrap.mdns import Mdns
from nexusd_bootstrap.source import Source
from nexusd_bootstrap.static import Static


def sources(config: Config, node: Node, peers: Peers) -> list[Source]:
    """As the configuration has them, the nearest first."""
    sources: list[Source] = [Cache(peers.remembered)]
    if config.bootstrap:
        sources.append(Static(config.bootstrap, connected=lambda peer: peer in node.connected()))
    if config.mdns:
        only_loopback = all("/ip4/127." in address or "/ip6/::1/" in address for address in node.addresses())
        sources.append(Mdns(node.peer_id, node.addresses, interfaces=["127.0.0.1"] if only_loopback else None))
    return sources


async def discover(cascade: Cascade, peers: Peers) -> None:
    """Offer what is found to whoever dials, until cancelled."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cascade.run)
        async for candidate in cascade.candidates:
            await peers.offer(candidate.peer, candidate.addresses, candidate.source)

"""py-libp2p's GossipSub, with the settings that it needs to carry more than ten messages a second."""

from __future__ import annotations

import hashlib
import sys
import time
from typing import Any

import trio
from libp2p import create_identity_from_seed, create_new_x25519_key_pair, new_host
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub  # noqa: TID251 - it is what is measured
from libp2p.pubsub.pubsub import Pubsub  # noqa: TID251
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from bench.gossip.work import TOPIC, Worker
from nexusd.host.loggers import quieten

LISTEN = Multiaddr("/ip4/127.0.0.1/tcp/0")


class StockMember:
    def __init__(self, host: Any, pubsub: Any, worker: Worker, nursery: trio.Nursery) -> None:
        self._host = host
        self._pubsub = pubsub
        self._worker = worker
        self._nursery = nursery

    async def connect(self, address: str) -> None:
        where, _, peer = address.partition("/p2p/")
        await self._host.get_network()._dial_addr_single_attempt(Multiaddr(where), ID.from_string(peer))

    async def join(self) -> None:
        subscription = await self._pubsub.subscribe(TOPIC)

        async def listen() -> None:
            own = self._host.get_id().to_bytes()
            async for message in subscription:
                if message.from_id != own:
                    self._worker.heard(message.data)

        self._nursery.start_soon(listen)

    def members(self) -> int:
        return len(self._pubsub.peer_topics.get(TOPIC, ()))

    async def publish(self, data: bytes) -> None:
        await self._pubsub.publish(TOPIC, data)


async def main(name: str) -> None:
    quieten()
    keys = create_identity_from_seed(hashlib.sha256(name.encode()).digest())
    noise = NoiseTransport(keys, noise_privkey=create_new_x25519_key_pair().private_key)
    host = new_host(key_pair=keys, sec_opt={NOISE: noise}, listen_addrs=[LISTEN])
    gossip = GossipSub(
        protocols=[TProtocol("/meshsub/1.1.0")],
        degree=6,
        degree_low=4,
        degree_high=12,
        heartbeat_interval=1,
        spam_protection_enabled=False,
        adaptive_gossip_enabled=False,
    )
    pubsub = Pubsub(host, gossip, strict_signing=True)
    pubsub.counter = time.time_ns()
    worker = Worker()
    async with (
        host.run([LISTEN]),
        background_trio_service(pubsub),
        background_trio_service(gossip),
        trio.open_nursery() as nursery,
    ):
        await pubsub.wait_until_ready()
        address = f"{str(host.get_addrs()[0]).partition('/p2p/')[0]}/p2p/{host.get_id()}"
        await worker.run(StockMember(host, pubsub, worker, nursery), address)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])

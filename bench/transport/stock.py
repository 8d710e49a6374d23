"""py-libp2p as it comes: its Noise, its Yamux, its negotiation. Only its dialler is gone round, since it always takes a
quarter of a second."""

from __future__ import annotations

import hashlib
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import trio
from libp2p import create_identity_from_seed, create_new_x25519_key_pair, new_host
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from multiaddr import Multiaddr

from bench.transport.work import HANDLERS, Driver, Handler, say_ready, until_told
from nexusd.host.loggers import quieten


class StockPipe:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def read(self, n: int) -> bytes:
        try:
            data: bytes = await self._stream.read(n)
        except StreamError:
            return b""
        return data

    async def write(self, data: bytes) -> None:
        await self._stream.write(data)

    async def finish(self) -> None:
        await self._stream.close()


class StockHost:
    def __init__(self, host: Any) -> None:
        self._host = host
        self._peer: ID | None = None

    async def connect(self, address: str) -> None:
        where, _, peer = address.partition("/p2p/")
        self._peer = ID.from_string(peer)
        await self._host.get_network()._dial_addr_single_attempt(Multiaddr(where), self._peer)

    async def disconnect(self) -> None:
        await self._host.get_network().close_peer(self._peer)

    async def open(self, protocol: str) -> StockPipe:
        return StockPipe(await self._host.new_stream(self._peer, [TProtocol(protocol)]))


def _listen(transport: str) -> Multiaddr:
    return Multiaddr("/ip4/127.0.0.1/tcp/0" + ("/ws" if transport == "ws" else ""))


def make(name: str, transport: str) -> Any:
    """A host that listens on loopback."""
    quieten()
    keys = create_identity_from_seed(hashlib.sha256(name.encode()).digest())
    noise = NoiseTransport(keys, noise_privkey=create_new_x25519_key_pair().private_key)
    return new_host(
        key_pair=keys, sec_opt={NOISE: noise}, listen_addrs=[_listen(transport)], enable_websocket=transport == "ws"
    )


async def _handle(handler: Handler, stream: Any) -> None:
    await handler(StockPipe(stream))


async def serve(transport: str) -> None:
    host = make("bob", transport)
    # its own bound of inbound connections of one address would measure the bound
    host.get_network().connection_config.max_connections = 10_000
    for protocol, handler in HANDLERS.items():
        host.set_stream_handler(TProtocol(protocol), partial(_handle, handler))
    async with host.run([_listen(transport)]):
        address = str(host.get_addrs()[0]).partition("/p2p/")[0]
        say_ready(f"{address}/p2p/{host.get_id()}")
        await until_told()


async def drive(transport: str) -> None:
    async with AsyncExitStack() as stack:

        async def another(number: object) -> StockHost:
            host = make(f"alice {number}", transport)
            await stack.enter_async_context(host.run([_listen(transport)]))
            return StockHost(host)

        await Driver(await another("first"), another).run()


if __name__ == "__main__":
    trio.run(serve if sys.argv[1] == "serve" else drive, sys.argv[2])

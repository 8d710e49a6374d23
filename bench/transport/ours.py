"""The host of nexusd, by its ports: what a service of the daemon gets, with everything below it."""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import trio

from bench.transport.work import HANDLERS, Driver, Handler, say_ready, until_told
from nexusd import logs
from nexusd.host.limits.figures import Figures
from nexusd.host.node import Node
from nexusd.host.ports import Channel, ConnectionLostError
from nexusd_protocols.identity import PeerId, Signer

FIGURES = Figures(connections=1024, inbound=1000, protocol_streams=64, open_streams=32)
"""The daemon's own, but for what a measurement would run into."""


class Plain:
    """A machine that takes bytes for what they are."""

    def receive(self, data: bytes) -> list[bytes]:
        return [data] if data else []

    def receive_eof(self) -> list[bytes]:
        return []

    def send(self, command: bytes) -> bytes:
        return command


class OurPipe:
    def __init__(self, channel: Channel[bytes, bytes]) -> None:
        self._channel = channel
        self._rest = b""

    async def read(self, n: int) -> bytes:
        if self._rest:
            data, self._rest = self._rest[:n], self._rest[n:]
            return data
        try:
            data = await self._channel.receive() or b""
        except ConnectionLostError:
            return b""
        if len(data) > n:
            data, self._rest = data[:n], data[n:]
        return data

    async def write(self, data: bytes) -> None:
        await self._channel.send(data)

    async def finish(self) -> None:
        await self._channel.aclose()


class OurHost:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._peer = PeerId("")

    async def connect(self, address: str) -> None:
        self._peer = PeerId(address.rpartition("/p2p/")[2])
        await self._node.connect(self._peer, [address])

    async def disconnect(self) -> None:
        await self._node.disconnect(self._peer)

    async def open(self, protocol: str) -> OurPipe:
        return OurPipe(await self._node.streams.open(self._peer, [protocol], lambda _protocol: Plain()))


def _listen(transport: str) -> str:
    return "/ip4/127.0.0.1/tcp/0" + ("/ws" if transport == "ws" else "")


def make(name: str, transport: str) -> Node:
    """A node that listens on loopback. Must be run."""
    return Node(
        Signer(hashlib.sha256(name.encode()).digest()), listen=[_listen(transport)], figures=FIGURES, role="light"
    )


async def serve(transport: str) -> None:
    node = make("bob", transport)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        for protocol, handler in HANDLERS.items():
            node.streams.handle(protocol, lambda _peer: Plain(), _handled(handler))
        say_ready(node.addresses()[0])
        await until_told()


def _handled(handler: Handler) -> Any:
    async def handle(channel: Channel[bytes, bytes]) -> None:
        await handler(OurPipe(channel))

    return handle


async def drive(transport: str) -> None:
    async with trio.open_nursery() as nursery:

        async def another(number: object) -> OurHost:
            node = make(f"alice {number}", transport)
            await nursery.start(node.run)
            return OurHost(node)

        await Driver(await another("first"), another).run()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logs.configure(level="warning", fmt="text")  # to standard error: standard output carries the answers
    trio.run(serve if sys.argv[1] == "serve" else drive, sys.argv[2])

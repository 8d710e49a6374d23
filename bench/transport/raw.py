"""The ceiling: Noise messages over Trio's TCP, as we encrypt them, and nothing else: no handshake, no multiplexer."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Awaitable
from typing import Final

import trio

from bench.transport.work import ECHO, HANDLERS, READ, SINK, SOURCE, Driver, Host, say_ready, until_told
from nexusd_protocols.noise.transport import NoiseTransport

KEY: Final = bytes(32)
KINDS: Final = (ECHO, SINK, SOURCE)


class RawPipe:
    """A connection as a stream."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._transport = NoiseTransport(KEY, KEY)
        self._texts: deque[bytes] = deque()

    async def write(self, data: bytes) -> None:
        await self._stream.send_all(self._transport.send(data))

    async def read(self, n: int) -> bytes:
        while not self._texts:
            data = await self._stream.receive_some(READ)
            if not data:
                return b""
            self._texts.extend(self._transport.receive(data))
        text = self._texts.popleft()
        if len(text) > n:
            self._texts.appendleft(text[n:])
            text = text[:n]
        return text

    async def finish(self) -> None:
        await self._stream.aclose()


class RawHost:
    """Each stream is a connection of its own: a call here shows what a connection costs the kernel."""

    def __init__(self) -> None:
        self._port = 0

    async def connect(self, address: str) -> None:
        self._port = int(address)

    async def disconnect(self) -> None:
        pass

    async def open(self, protocol: str) -> RawPipe:
        pipe = RawPipe(await trio.open_tcp_stream("127.0.0.1", self._port))
        await pipe.write(bytes([KINDS.index(protocol)]))
        return pipe


async def _accept(stream: trio.SocketStream) -> None:
    pipe = RawPipe(stream)
    kind = await pipe.read(1)
    if kind:
        handled: Awaitable[None] = HANDLERS[KINDS[kind[0]]](pipe)
        await handled


async def serve() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, _accept, listeners)
        say_ready(str(listeners[0].socket.getsockname()[1]))
        await until_told()


async def drive() -> None:
    host: Host = RawHost()
    await Driver(host).run()


if __name__ == "__main__":
    trio.run(serve if sys.argv[1] == "serve" else drive)

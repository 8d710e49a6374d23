"""The ceiling: frames of ChaCha20-Poly1305 over Trio's TCP, and nothing else: no handshake, no multiplexer."""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from typing import Final

import trio
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from bench.transport.work import ECHO, HANDLERS, READ, SINK, SOURCE, Driver, Host, say_ready, until_told

KEY: Final = bytes(32)
TEXT: Final = 65_519
KINDS: Final = (ECHO, SINK, SOURCE)


class RawPipe:
    """A connection as a stream."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._cipher = ChaCha20Poly1305(KEY)
        self._sent = self._received = 0
        self._buffer = bytearray()
        self._texts = bytearray()

    async def write(self, data: bytes) -> None:
        frames = []
        for start in range(0, len(data), TEXT):
            frame = self._cipher.encrypt(self._sent.to_bytes(12, "little"), data[start : start + TEXT], None)
            self._sent += 1
            frames += [len(frame).to_bytes(2, "big"), frame]
        await self._stream.send_all(b"".join(frames))

    async def read(self, n: int) -> bytes:
        while not self._texts:
            data = await self._stream.receive_some(READ)
            if not data:
                return b""
            self._buffer += data
            self._open()
        found = bytes(self._texts[:n])
        del self._texts[:n]
        return found

    def _open(self) -> None:
        start = 0
        while len(self._buffer) - start >= 2:
            end = start + 2 + int.from_bytes(self._buffer[start : start + 2], "big")
            if len(self._buffer) < end:
                break
            nonce = self._received.to_bytes(12, "little")
            self._texts += self._cipher.decrypt(nonce, bytes(self._buffer[start + 2 : end]), None)
            self._received += 1
            start = end
        del self._buffer[:start]

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

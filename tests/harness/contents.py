"""Streams that carry bytes, on a node of ours: what interop/peer/streams.mjs and interop/go serve and do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import trio

from nexusd.host.node import Node
from nexusd.host.ports import Channel
from nexusd_protocols.identity import PeerId
from tests.harness.nodes import Bytes

ECHO = "/interop/echo/1.0.0"
"""Says what it hears, ends when the other ends."""
SINK = "/interop/sink/1.0.0"
"""Hears all, then says {"bytes", "sha256"}."""
HOLD = "/interop/hold/1.0.0"
"""As SINK, but rests until it is released: theirs from the beginning, ours after `rest_after` bytes."""
SOURCE = "/interop/source/1.0.0"
"""Hears a number, says so many bytes."""
BREAK = "/interop/break/1.0.0"
"""Hears a number, says so many bytes and resets."""

_BLOCK = bytes((i * 167 + (i >> 8) * 13) & 0xFF for i in range(65_521))
"""Content repeats it. A prime length, so that no piece of content is where another should be."""

Digest = dict[str, object]
Stream = Channel[bytes, bytes]


def content(count: int) -> Iterator[bytes]:
    """So many bytes, in pieces."""
    while count > 0:
        yield _BLOCK[:count]
        count -= len(_BLOCK)


def digest(count: int) -> Digest:
    """What whoever heard so many bytes of content says."""
    total = hashlib.sha256()
    for piece in content(count):
        total.update(piece)
    return {"bytes": count, "sha256": total.hexdigest()}


async def pieces(channel: Stream) -> AsyncIterator[bytes]:
    """What comes until the other side ends."""
    while (piece := await channel.receive()) is not None:
        yield piece


async def send_content(channel: Stream, count: int) -> Digest:
    """Send so many bytes."""
    total = hashlib.sha256()
    for piece in content(count):
        total.update(piece)
        await channel.send(piece)
    return {"bytes": count, "sha256": total.hexdigest()}


async def hear(channel: Stream, *, rest_after: int = 0, rest: Callable[[], Awaitable[None]] | None = None) -> Digest:
    """Read to the end, with a rest when so many bytes have come, if one is wanted."""
    total, count = hashlib.sha256(), 0
    while True:
        if rest is not None and count >= rest_after:
            await rest()
            rest = None
        piece = await channel.receive()
        if piece is None:
            return {"bytes": count, "sha256": total.hexdigest()}
        total.update(piece)
        count += len(piece)


async def text(channel: Stream) -> str:
    """The whole of a short text."""
    return b"".join([piece async for piece in pieces(channel)]).decode()


@dataclass
class Contents:
    """Serves all of them on a node; tells how streams of others broke off."""

    node: Node
    rest_after: int = 0
    released: trio.Event = field(default_factory=trio.Event)
    holding: trio.Event = field(default_factory=trio.Event)
    held: list[Stream] = field(default_factory=list)
    broke: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        for protocol, handler in (
            (ECHO, self._echo),
            (SINK, self._sink),
            (HOLD, self._hold),
            (SOURCE, self._source),
            (BREAK, self._break),
        ):
            self.node.streams.handle(protocol, lambda _peer: Bytes(), handler)

    async def open(self, peer: str, protocol: str) -> Stream:
        """A stream to a peer."""
        return await self.node.streams.open(PeerId(peer), [protocol], lambda _protocol: Bytes())

    async def upload(self, peer: str, count: int, protocol: str = SINK) -> tuple[Digest, Digest]:
        """What was sent, and what the peer says it heard."""
        async with await self.open(peer, protocol) as channel:
            sent = await send_content(channel, count)
            await channel.close_write()
            return sent, json.loads(await text(channel))

    async def fetch(self, peer: str, count: int) -> Digest:
        """Ask a peer's source for content."""
        async with await self.open(peer, SOURCE) as channel:
            await channel.send(str(count).encode())
            await channel.close_write()
            return await hear(channel)

    async def _echo(self, channel: Stream) -> None:
        try:
            async for piece in pieces(channel):
                await channel.send(piece)
        except Exception as error:
            self.broke.append(error)
            raise

    async def _sink(self, channel: Stream, rest: Callable[[], Awaitable[None]] | None = None) -> None:
        try:
            heard = await hear(channel, rest_after=self.rest_after, rest=rest)
        except Exception as error:
            self.broke.append(error)
            raise
        await channel.send(json.dumps(heard).encode())

    async def _hold(self, channel: Stream) -> None:
        self.held.append(channel)
        await self._sink(channel, self._rest)

    async def _rest(self) -> None:
        self.holding.set()
        await self.released.wait()

    async def _source(self, channel: Stream) -> None:
        await send_content(channel, int(await text(channel)))

    async def _break(self, channel: Stream) -> None:
        await send_content(channel, int(await text(channel)))
        await channel.reset()

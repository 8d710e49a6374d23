"""A connection to a daemon, authenticated and negotiated as it should be, on which mallory says the frames herself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.abc import IRawConnection
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID

from nexusd.host.security import key_pair_of, noise_only
from nexusd_protocols.yamux.budget import Budget
from tests.harness.daemon import Daemon
from tests.harness.nodes import signer
from tests.harness.yamux import ACK, DATA, PING, SYN, Frame, ping

CUT_SECONDS = 10.0
"""In this time an attacker is found out, charged and cut."""


class Wire:
    """`heard` is what the victim said, as frames; `cut` is set once it has closed the connection."""

    def __init__(self, conn: Any, peer_id: str) -> None:
        self.peer_id = peer_id
        self.heard: list[Frame] = []
        self.cut = trio.Event()
        self._conn = conn
        self._sending = trio.Lock()
        self._partial = b""

    async def send(self, data: bytes) -> bool:
        """Send bytes; False once the victim takes no more."""
        try:
            async with self._sending:  # whole: the answer to a ping goes between frames
                for start in range(0, len(data), 262_144):
                    await self._conn.send(data[start : start + 262_144])
        except Exception:  # a broken connection has many names in stock code
            return False
        return True

    async def listen(self) -> None:
        """Hear what the victim says, and answer its pings, until it closes the connection."""
        try:
            while texts := await self._conn.receive():
                for frame in self._frames(b"".join(texts)):
                    self.heard.append(frame)
                    if frame.kind == PING and frame.flags == SYN:
                        await self.send(ping(frame.length, ACK))
        except Exception:  # as above
            pass
        self.cut.set()

    def _frames(self, data: bytes) -> list[Frame]:
        """Whole frames; what is left of one waits for the rest. A long payload is dropped."""
        found = []
        data = self._partial + data
        position = 0
        while len(data) - position >= 12:
            frame = Frame.read(data, position)
            end = position + 12 + (frame.length if frame.kind == 0 else 0)
            if end > len(data):
                break
            payload = data[position + 12 : end]
            found.append(frame._replace(payload=payload) if len(payload) < 1024 else frame)
            position = end
        self._partial = data[position:]
        return found

    def said(self, stream: int) -> bytes:
        """What the victim said on a stream, so far."""
        return b"".join(frame.payload for frame in self.heard if frame.kind == DATA and frame.stream == stream)

    async def refused(self, seconds: float = CUT_SECONDS) -> None:
        """Until the victim has closed the connection. Raises TooSlowError if it does not."""
        with trio.fail_after(seconds):
            await self.cut.wait()


@asynccontextmanager
async def wire(victim: Daemon, name: str = "mallory", *, listening: bool = True) -> AsyncIterator[Wire]:
    """Somebody's connection to a daemon over TCP, past Noise and the choice of Yamux. If not `listening` she never
    reads."""
    port = int(victim.tcp.split("/tcp/")[1].split("/")[0])
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    raw: IRawConnection = RawConnection(TrioTCPStream(stream), True)
    try:
        upgrader = noise_only(key_pair_of(signer(name)), 10, Budget(), lambda *_: None)
        conn = await upgrader.upgrade_security(raw, True, ID.from_string(victim.peer_id))
        await upgrader.muxer_multistream._selector.select(conn, True, 10)
        attacker = Wire(conn, signer(name).peer_id)
        async with trio.open_nursery() as nursery:
            if listening:
                nursery.start_soon(attacker.listen)
            yield attacker
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await raw.close()

"""Mallory: a stock libp2p host that says on any stream what it wants, and a client that does so at the socket."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Self

import trio
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from nexusd import paths
from nexusd.host.loggers import quieten
from nexusd_protocols.identity import PeerId, Signer, peer_id_bytes
from nexusd_protocols.pubsub import rpc_pb2
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.daemon import Daemon
from tests.harness.nodes import signer
from tests.harness.stock import stock_host

quieten()

INVOKE = "/nexus/invoke/1.1.0"
DM = "/nexus/dm/1.1.0"
HANDSHAKE = "/nexus/handshake/1.1.0"
MESHSUB = "/meshsub/1.1.0"
KAD = "/nexus/kad/1.1.0"

ANSWER_SECONDS = 20.0
CLOSE_SECONDS = 10.0
"""What it takes is 0.2 s for each victim."""


class Line:
    """One stream to the victim, negotiated and then free for anything."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self._buffer = bytearray()

    async def write(self, data: bytes) -> bool:
        """Send bytes; False once the victim takes no more."""
        try:
            for start in range(0, len(data), 32_768):
                await self.stream.write(data[start : start + 32_768])
        except Exception:  # a reset has many names in stock code
            return False
        return True

    async def say(self, *frames: object) -> bool:
        """Send frames, a line each, in one write."""
        return await self.write(b"".join(json.dumps(frame).encode() + b"\n" for frame in frames))

    async def answers(self, seconds: float = ANSWER_SECONDS) -> list[Any]:
        """All frames until the victim ends the stream. Raises TooSlowError if it does not."""
        found = []
        while (frame := await self.answer(seconds)) is not None:
            found.append(frame)
        return found

    async def answer(self, seconds: float = ANSWER_SECONDS) -> Any:
        """The next frame, None where the victim ends the stream instead."""
        with trio.fail_after(seconds):
            while b"\n" not in self._buffer:
                try:
                    self._buffer += await self.stream.read(65_536)
                except Exception:  # the end, by close or by reset
                    return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    async def close_write(self) -> None:
        """Say no more."""
        with contextlib.suppress(StreamError):
            await self.stream.close_write()

    async def reset(self) -> None:
        """Go away in the middle."""
        with contextlib.suppress(StreamError):
            await self.stream.reset()


class Mallory:
    """A peer of the daemon's that keeps no rule."""

    def __init__(self, host: Any, name: str) -> None:
        self.host = host
        self.signer: Signer = signer(name)
        self.peer_id = PeerId(str(host.get_id()))
        self._seqno = time.time_ns()

    async def dial(self, victim: Daemon) -> None:
        """Connect."""
        await self.dial_at(victim.tcp, victim.peer_id)

    async def dial_at(self, address: str, peer: str) -> None:
        """Connect to an address."""
        where = Multiaddr(address.partition("/p2p/")[0])
        await self.host.get_network()._dial_addr_single_attempt(where, ID.from_string(peer))

    async def open(self, victim: Daemon, protocol: str) -> Line:
        """A negotiated stream. Raises where the victim refuses it."""
        return await self.open_at(victim.peer_id, protocol)

    async def open_at(self, peer: str, protocol: str) -> Line:
        """The same, to a peer by its id."""
        with trio.fail_after(ANSWER_SECONDS):
            return Line(await self.host.new_stream(ID.from_string(peer), [TProtocol(protocol)]))

    def signed(self, topic: str, data: bytes, by: Signer | None = None) -> SignedMessage:
        """A room message with a true signature."""
        self._seqno += 1
        return SignedMessage.sign(by or self.signer, topic, data, self._seqno)


def chat(sender: str, topic: str, content: str, /, **fields: Any) -> bytes:
    """The payload of a chat message, any field of it replaced."""
    now = time.time_ns() // 1_000_000
    message = {
        "version": 1,
        "type": "chat",
        "id": f"m-{time.time_ns()}",
        "timestamp": now,
        "sender": sender,
        "topic": topic,
        "payload": {"content": content, "format": "text/plain", "replyTo": None, "threadId": None},
        "references": [],
    } | fields
    return json.dumps(message).encode()


def packed(message: SignedMessage, **fields: Any) -> rpc_pb2.Message:
    """As GossipSub carries it, any field replaced."""
    values = {
        "from_id": peer_id_bytes(message.sender),
        "data": message.data,
        "seqno": message.seqno,
        "topic": message.topic,
        "signature": message.signature,
    } | fields
    return rpc_pb2.Message(**values)


def rpc(*messages: rpc_pb2.Message) -> bytes:
    """One RPC with its length before it."""
    return framed(rpc_pb2.RPC(publish=messages).SerializeToString())


def framed(data: bytes) -> bytes:
    """Bytes with their length before them."""
    length, prefix = len(data), bytearray()
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(prefix) + bytes([length]) + data


@asynccontextmanager
async def mallory(*victims: Daemon, name: str = "mallory", agent_version: str | None = None) -> AsyncIterator[Mallory]:
    """Mallory on loopback, connected to the victims."""
    host = stock_host(name)
    host.set_stream_handler(TProtocol(MESHSUB), _listen)  # who takes no RPCs is no pubsub peer
    if agent_version is not None:
        _introduce(host, agent_version)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        attacker = Mallory(host, name)
        try:
            for victim in victims:
                await attacker.dial(victim)
            yield attacker
        finally:
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await host.close()


async def _listen(stream: Any) -> None:
    """Take what comes, and forget it."""
    with contextlib.suppress(Exception):
        while True:
            await stream.read(65_536)


def _introduce(host: Any, agent_version: str) -> None:
    """Answer identify with this for an agent version."""
    from libp2p.identity.identify.pb.identify_pb2 import Identify

    async def answer(stream: Any) -> None:
        said = Identify(
            protocol_version="ipfs/0.1.0",
            agent_version=agent_version,
            public_key=host.get_public_key().serialize(),
            protocols=["/ipfs/id/1.0.0"],
        )
        await stream.write(framed(said.SerializeToString()))
        await stream.close()

    host.set_stream_handler(TProtocol("/ipfs/id/1.0.0"), answer)


class Client:
    """A connection to a daemon's socket that says what it wants."""

    def __init__(self, daemon: Daemon, timeout: float = ANSWER_SECONDS) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(str(paths.socket_of(daemon.data_dir)))
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> bool:
        """Send bytes; False where the daemon takes no more."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            return False
        return True

    def request(self, number: object, method: str, **params: Any) -> bytes:
        """A request's line."""
        return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"

    def answer(self) -> Any:
        """The next line, decoded."""
        line = self._file.readline()
        assert line, "the daemon closed the connection"
        return json.loads(line)

    def answers(self, numbers: Iterable[object]) -> dict[object, Any]:
        """The answers to these requests, in whatever order they come."""
        left = set(numbers)
        found: dict[object, Any] = {}
        while left:
            message = self.answer()
            if message.get("id") in left:
                left.discard(message["id"])
                found[message["id"]] = message
        return found

    def ask(self, method: str, **params: Any) -> Any:
        """One request and its answer."""
        self.send(self.request("ask", method, **params))
        return self.answers(["ask"])["ask"]

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@contextlib.contextmanager
def unharmed(daemon: Daemon, *, mebibytes: int = 48) -> Iterator[None]:
    """After what happens inside, the daemon has not grown by more than that, and answers: not behind work that is over,
    which would show in its processor time."""
    daemon.rpc("node.status")
    before = daemon.rss()
    pid = daemon.pid
    yield
    spent = daemon.cpu_seconds()
    assert daemon.rpc("node.status")["pid"] == pid
    assert daemon.cpu_seconds() - spent < 1.0
    grown = (daemon.rss() - before) / (1 << 20)
    assert grown < mebibytes, f"{daemon.name} grew by {grown:.0f} MiB"

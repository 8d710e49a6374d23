"""A network in memory for nodes under Trio's autojump clock: latency, partitions, cuts and one-way silence, on command.

It stands where TCP stands: Noise, Yamux and everything above are the real ones.

    network = MemoryNetwork(seed=7)
    node = Node(signer, listen=["/ip4/10.0.0.1/tcp/4001"], transports=[network.transport("10.0.0.1")])
    network.partition(["10.0.0.1"], ["10.0.0.2"])   # cuts what crosses it and refuses dials over it
    network.heal()
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable

import trio
from libp2p.abc import IListener, ITransport
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

IN_FLIGHT_BYTES = 1 << 20
"""What a sender may be ahead of its receiver, as a socket's buffers."""


class Wire:
    """Bytes from one host to another: in order, late, held back or broken."""

    def __init__(self, network: MemoryNetwork, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self._network = network
        self._queue: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._changed = trio.Event()
        self._finished = False
        self._broken = False

    async def send(self, data: bytes) -> None:
        while not self._broken and self._size >= IN_FLIGHT_BYTES:
            await self._wait()
        if self._broken or self._finished:
            raise ConnectionClosedError("the connection is cut", transport="tcp")
        due = trio.current_time() + self._network.latency()
        self._queue.append((max(due, self._queue[-1][0]) if self._queue else due, data))
        self._size += len(data)
        self.wake()

    async def receive(self, limit: int | None) -> bytes:
        while True:
            if self._broken:
                raise ConnectionClosedError("the connection is cut", transport="tcp")
            held = self._network.silent(self.source, self.target)
            if self._queue and not held:
                due, data = self._queue[0]
                if due <= trio.current_time():
                    return self._take(data, limit)
                with trio.move_on_at(due):
                    await self._wait()
            elif self._finished and not self._queue:
                return b""
            else:
                await self._wait()

    def _take(self, data: bytes, limit: int | None) -> bytes:
        due, _ = self._queue.popleft()
        if limit is not None and len(data) > limit:
            self._queue.appendleft((due, data[limit:]))
            data = data[:limit]
        self._size -= len(data)
        self.wake()
        return data

    async def _wait(self) -> None:
        await self._changed.wait()

    def wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def finish(self) -> None:
        self._finished = True
        self.wake()

    def cut(self) -> None:
        self._broken = True
        self.wake()


class MemoryStream(ReadWriteCloser):
    """One end of a connection."""

    def __init__(self, incoming: Wire, outgoing: Wire, port: int) -> None:
        self._in = incoming
        self._out = outgoing
        self._port = port
        self._closed = False
        self._reading = trio.Lock()
        self._writing = trio.Lock()

    async def write(self, data: bytes) -> None:
        async with self._writing:
            await self._out.send(bytes(data))

    async def read(self, n: int | None = None) -> bytes:
        async with self._reading:
            await trio.lowlevel.checkpoint()
            if n == 0 or self._closed:
                return b""
            return await self._in.receive(n)

    async def close(self) -> None:
        self._closed = True
        self._out.finish()
        self._in.cut()

    def get_remote_address(self) -> tuple[str, int]:
        return self._in.source, self._port


class MemoryNetwork:
    """The wires. Latency is drawn from a seeded generator, so a run repeats."""

    def __init__(self, seed: int = 0, latency: tuple[float, float] = (0.001, 0.02)) -> None:
        self._random = random.Random(seed)
        self._latency = latency
        self._listeners: dict[tuple[str, str], MemoryListener] = {}
        self._wires: list[Wire] = []
        self._groups: dict[str, int] = {}
        self._silent: set[tuple[str, str]] = set()
        self._next_port = 40_000
        self.dials = 0

    def transport(self, ip: str) -> MemoryTransport:
        """The transport of the host with this address."""
        return MemoryTransport(self, ip)

    def latency(self) -> float:
        return self._random.uniform(*self._latency)

    def reachable(self, a: str, b: str) -> bool:
        return self._groups.get(a, 0) == self._groups.get(b, 0)

    def silent(self, source: str, target: str) -> bool:
        return (source, target) in self._silent

    def partition(self, *groups: Iterable[str]) -> None:
        """Only hosts of one group reach each other (those not named are a group too). Cuts what crosses."""
        self._groups = {ip: number for number, group in enumerate(groups, 1) for ip in group}
        for wire in self._wires:
            if not self.reachable(wire.source, wire.target):
                wire.cut()
        self._forget()

    def cut(self, a: str, b: str) -> None:
        """Break every connection between two hosts, once."""
        for wire in self._wires:
            if {wire.source, wire.target} == {a, b}:
                wire.cut()
        self._forget()

    def silence(self, source: str, target: str) -> None:
        """Hold back what one host sends to another, without a word to either."""
        self._silent.add((source, target))

    def heal(self) -> None:
        """Everybody reaches everybody; what was held back arrives."""
        self._groups.clear()
        self._silent.clear()
        for wire in self._wires:
            wire.wake()

    def _forget(self) -> None:
        self._wires = [wire for wire in self._wires if not wire._broken]

    def connect(self, source: str, address: Multiaddr) -> MemoryStream:
        """Dial. Raises OpenConnectionError."""
        parts = str(address).split("/")
        ip, port = parts[2], parts[4]
        self.dials += 1
        listener = self._listeners.get((ip, port))
        if listener is None or not self.reachable(source, ip):
            raise OpenConnectionError(f"nobody listens on {ip} port {port}")
        self._next_port += 1
        there, back = Wire(self, source, ip), Wire(self, ip, source)
        self._wires += [there, back]
        listener.accept(MemoryStream(there, back, self._next_port))
        return MemoryStream(back, there, int(port))

    def listen(self, listener: MemoryListener, address: Multiaddr) -> None:
        parts = str(address).split("/")
        if (parts[2], parts[4]) in self._listeners:
            raise OpenConnectionError(f"{address} is taken")
        self._listeners[(parts[2], parts[4])] = listener

    def unlisten(self, listener: MemoryListener) -> None:
        for key in [key for key, found in self._listeners.items() if found is listener]:
            del self._listeners[key]


class MemoryListener(IListener):
    """Connections are handled in the swarm's own nursery, so that they end with it."""

    background_nursery: trio.Nursery

    def __init__(self, network: MemoryNetwork, handler) -> None:
        self._network = network
        self._handler = handler
        self._addresses: list[Multiaddr] = []

    async def listen(self, maddr: Multiaddr) -> None:
        self._network.listen(self, maddr)
        self._addresses.append(maddr)

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        return tuple(self._addresses)

    async def close(self) -> None:
        self._network.unlisten(self)
        await trio.lowlevel.checkpoint()

    def accept(self, stream: MemoryStream) -> None:
        self.background_nursery.start_soon(self._handler, stream)


class MemoryTransport(ITransport):
    """In the place of TCP."""

    def __init__(self, network: MemoryNetwork, ip: str) -> None:
        self._network = network
        self._ip = ip

    async def dial(self, maddr: Multiaddr) -> RawConnection:
        await trio.sleep(self._network.latency())
        return RawConnection(self._network.connect(self._ip, maddr), True)

    def create_listener(self, handler_function) -> MemoryListener:
        return MemoryListener(self._network, handler_function)

    def can_dial(self, maddr: Multiaddr) -> bool:
        return "/tcp/" in str(maddr)

    def can_listen(self, maddr: Multiaddr) -> bool:
        return "/tcp/" in str(maddr)

    def protocols(self) -> list[str]:
        return ["tcp"]

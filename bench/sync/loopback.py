"""Two daemons, each a process, compare a room over TCP on loopback: what a person waits for from the connection on, and
what goes through the wire with Noise and Yamux round it, read off a relay of octets between them.

The past is put on their disks while they do not run. Dialling, identify, the meeting in the room and the moment that a
daemon waits before it compares are in the seconds: it is how a host that was away comes back.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import trio

from nexusd_protocols.identity import AgentId
from tests.harness.daemon import Daemon, Home
from tests.harness.history import HOUR_MS, past, remember
from tests.harness.process import poll

ROOM = "lab"
HOURS = 365 * 24
PATIENCE_S = 600


@dataclass(frozen=True, slots=True)
class Caught:
    """What it took from the connection until both held the same. `messages` were known to both before, `different` to
    one of them. `again_bytes` and `again_seconds` are what comparing takes once nothing is different."""

    messages: int
    different: int
    bytes: int
    seconds: float
    cpu_seconds: float
    again_bytes: int
    again_seconds: float


class CountingRelay:
    """Passes octets on between those who connect and a port of this host, and counts them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._count = 0
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def bytes(self) -> int:
        """Both ways, since the beginning."""
        with self._lock:
            return self._count

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._port))
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 18):
                with self._lock:
                    self._count += len(data)
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Break every connection."""
        self._listener.close()
        for sock in self._open:
            sock.close()


def caught_up(messages: int, different: int) -> Caught:
    """One reunion. Of what is different each side has half; something must be."""
    assert different >= 2
    home = Home()
    try:
        with _apart(home, messages, different) as (alice, bob):
            return _meet(alice, bob, messages, different)
    finally:
        home.remove()


@contextmanager
def _apart(home: Home, messages: int, different: int) -> Iterator[Sequence[Daemon]]:
    """Two daemons that share so much of a room, and do not know one another."""
    daemons = [Daemon(name, home, "--log-level", "warning", start=False) for name in ("alice", "bob")]
    now = time.time_ns() // 1_000_000
    agents: list[AgentId] = []
    for daemon in daemons:  # the first start makes the key, and the room
        daemon.start()
        daemon.rpc("room.join", room=ROOM)
        agents.append(AgentId(daemon.peer_id))
        daemon.stop()
    places = dict(zip(agents, (daemon.data_dir for daemon in daemons), strict=True))

    async def write() -> None:
        await remember(places, past(ROOM, messages, now - HOUR_MS, hours=HOURS), now)
        for number, (agent, place) in enumerate(places.items()):
            rows = past(ROOM, different // 2, now - HOUR_MS - 1 - number, hours=HOURS, seed=2 + number)
            await remember({agent: place}, rows, now)

    trio.run(write)
    with contextlib.ExitStack() as stack:
        for daemon in daemons:
            daemon.start()
            stack.callback(daemon.close)
        yield daemons


def _meet(alice: Daemon, bob: Daemon, messages: int, different: int) -> Caught:
    relay = CountingRelay(int(alice.tcp.split("/")[4]))
    try:
        used = sum(map(_cpu, (alice, bob)))
        began = time.perf_counter()
        bob.rpc("peers.connect", address=f"/ip4/127.0.0.1/tcp/{relay.port}/p2p/{alice.peer_id}")
        whole = messages + different // 2 * 2
        poll(lambda: {_count(alice), _count(bob)} == {whole}, "equal rooms", PATIENCE_S, every=0.01)
        seconds, cpu_seconds = time.perf_counter() - began, sum(map(_cpu, (alice, bob))) - used
        carried = relay.bytes
        _compare(bob)  # behind what is still on its way
        again, began = relay.bytes, time.perf_counter()
        _compare(bob)
        again_seconds, again = time.perf_counter() - began, relay.bytes - again
        return Caught(messages, different, carried, seconds, cpu_seconds, again, again_seconds)
    finally:
        relay.close()


def _compare(bob: Daemon) -> None:
    (found,) = bob.rpc("room.sync", room=ROOM)["peers"]
    assert (found["received"], found["sent"], found["error"]) == (0, 0, None)


def _count(daemon: Daemon) -> int:
    (room,) = daemon.rpc("room.list")["rooms"]
    found: int = room["messages"]
    return found


def _cpu(daemon: Daemon) -> float:
    times = psutil.Process(daemon.pid).cpu_times()
    return float(times.user + times.system)

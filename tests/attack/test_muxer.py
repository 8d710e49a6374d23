"""Frames that mallory makes herself, once she is authenticated. Meanwhile carol, of js-libp2p, comes and goes."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import trio

from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from tests.attack.penalties import charges
from tests.harness.daemon import Daemon, Home, connect
from tests.harness.js import JsPeer
from tests.harness.nodes import until
from tests.harness.process import poll
from tests.harness.wire import CUT_SECONDS, Wire, wire
from tests.harness.witness import witnessed
from tests.harness.yamux import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    INITIAL,
    PING,
    RST,
    SYN,
    WINDOW,
    Frame,
    data,
    frames,
    go_away,
    output,
    ping,
    session,
    window,
)

CPU_SHARE = 0.3
"""Of one core, over the time that an attacker has."""
ECHO = b"\x13/multistream/1.0.0\n\x11/ipfs/ping/1.0.0\n"
"""Chooses a protocol that sends back what comes, 32 octets at a time."""


# --- every frame in every state ---------------------------------------------------------------------------------------

STATES = {
    "no stream": b"",
    "opened": window(1, 0, SYN),
    "opened with data": data(1, b"\x13", SYN),
    "half-closed": data(1, b"\x13", SYN | FIN),
    "reset": window(1, 0, SYN) + window(1, 0, RST),
    "gone away": window(1, 0, SYN) + go_away(),
}


def any_frame(chosen: random.Random) -> bytes:
    """A sound frame, or one with a fault or a lie in it."""
    kind = chosen.choice([DATA, DATA, WINDOW, WINDOW, PING, GO_AWAY, 4, 255])
    flags = chosen.choice([0, 0, SYN, ACK, FIN, RST, SYN | FIN, SYN | RST, ACK | FIN, 16])
    stream = chosen.choice([1, 1, 1, 3, 1000, 0, 2**32 - 1])
    length = chosen.choice([0, 5, INITIAL + 1, 2**32 - 1])
    payload = b"12345" if kind == DATA and length == 5 else b""
    return bytes(Frame(kind, flags, stream, length, payload, chosen.choice([0] * 19 + [1])))


def machine(octets: bytes) -> str | None:
    """What the machine alone, which has tests of its own, refuses them for."""
    bob = session()
    try:
        bob.receive(octets, 0.0)
    except RemoteProtocolError as error:
        return error.code
    assert any(frame.kind == PING for frame in output(bob)) or bob.over
    return "" if bob.over else None


@pytest.mark.parametrize("state", STATES)
async def test_every_frame_in_every_state(alice: Daemon, carol: JsPeer, state: str) -> None:
    """The daemon does what the machine does: it answers the ping behind the frame, or names the fault and closes."""
    seed = 5
    chosen = random.Random(seed)
    with witnessed(alice, carol):
        for number in range(50):
            octets = STATES[state] + any_frame(chosen) + ping(7)
            code = machine(octets)
            async with wire(alice, f"{state} {number}") as attacker:
                await attacker.send(octets)
                answered = Frame(PING, ACK, 0, 7)
                with trio.fail_after(CUT_SECONDS):
                    while not (attacker.cut.is_set() or answered in attacker.heard):
                        await trio.sleep(0.001)
                assert (answered in attacker.heard) is (code is None), (number, code, frames(octets))
            if code:
                # a stream that was half closed in the middle of its first word may be charged beside it
                poll(lambda a=attacker, c=code: charges(alice, a.peer_id).count(c) == 1, f"{code} in the log")


# --- floods -----------------------------------------------------------------------------------------------------------


OPEN = window(1, 0, SYN)


@dataclass(frozen=True)
class Flood:
    """Frames by number, behind the `first`, and what for they are refused."""

    make: Callable[[int], bytes]
    reason: str
    first: bytes = b""
    count: int = 1_000_000
    together: int = 500

    def pieces(self) -> Iterator[bytes]:
        """Several frames in each."""
        yield self.first
        for start in range(0, self.count, self.together):
            yield b"".join(self.make(number) for number in range(start, min(self.count, start + self.together)))


def opened(number: int, payload: bytes = b"") -> bytes:
    """Another stream."""
    return data(2 * number + 1, payload, SYN) if payload else window(2 * number + 1, 0, SYN)


FLOODS = {
    "100,000 streams opened and reset": Flood(
        lambda n: opened(n, b"x") + window(2 * n + 1, 0, RST), "too_many_resets", count=100_000
    ),
    "streams opened and reset in one frame": Flood(lambda n: window(2 * n + 1, 0, SYN | RST), "too_many_resets"),
    # for the number of them, or for what is said on them, whichever is too much first
    "streams that we have to reset": Flood(lambda n: opened(n, b"\x04\xff\xfe\xfd\n"), "", together=50),
    "streams over the backlog": Flood(opened, "too_many_resets"),
    "pings": Flood(ping, "too_many_pings"),
    "pongs": Flood(lambda n: ping(n, ACK), "too_many_pings"),
    "windows opened by nothing": Flood(lambda n: window(1, 0), "too_many_empty_frames", first=OPEN),
    "windows opened by one": Flood(lambda n: window(1, 1), "too_many_updates", first=OPEN),
    "windows opened for ever": Flood(lambda n: window(1, 2**32 - 1), "window_overflow", first=OPEN),
    "empty data": Flood(lambda n: data(1), "too_many_empty_frames", first=OPEN),
    "acknowledgements": Flood(lambda n: data(1, b"", ACK), "too_many_empty_frames", first=OPEN),
    "ends": Flood(lambda n: window(1, 0, FIN), "too_many_empty_frames", first=OPEN),
    "resets of no stream": Flood(lambda n: window(2 * n + 1, 0, RST), "too_many_empty_frames"),
    "goodbyes": Flood(lambda n: go_away(), "too_many_empty_frames", first=OPEN),
    "data on no stream": Flood(lambda n: data(2 * n + 1, bytes(1000)), "stray_data"),
    "data after a reset": Flood(lambda n: data(1, bytes(1000)), "stray_data", first=OPEN + window(1, 0, RST)),
    # at once: a stream that is forgotten meanwhile has data that belongs to none
    "data after the end": Flood(lambda n: window(2 * n + 1, 0, SYN | FIN) + data(2 * n + 1, b"x"), "data_after_end"),
    "data beyond the window": Flood(
        lambda n: data(1, bytes(10_000)), "window_exceeded", first=data(1, ECHO, SYN), together=30
    ),
}


async def assert_cut(victim: Daemon, attacker: Wire, reason: str) -> None:
    """The connection is closed, the log says who it was and why, and she is no peer any more."""
    await attacker.refused()
    poll(
        lambda: any(reason in each for each in charges(victim, attacker.peer_id)),
        f"{reason} of {attacker.peer_id} in the log",
    )
    poll(lambda: attacker.peer_id not in victim.connected(), "the attacker gone")


@pytest.mark.parametrize("flood", FLOODS)
async def test_whoever_floods_is_cut_and_named(alice: Daemon, carol: JsPeer, flood: str) -> None:
    with witnessed(alice, carol) as told:
        async with wire(alice, flood) as attacker:
            for piece in FLOODS[flood].pieces():
                if not await attacker.send(piece):
                    break
            await assert_cut(alice, attacker, FLOODS[flood].reason)
    assert told.cpu_seconds < CPU_SHARE * CUT_SECONDS, told


async def test_10_000_streams_that_say_nothing_and_read_nothing(alice: Daemon, carol: JsPeer) -> None:
    with witnessed(alice, carol):
        async with wire(alice, "silent crowd", listening=False) as attacker:
            for piece in Flood(opened, "", count=10_000).pieces():
                if not await attacker.send(piece):
                    break
            poll(lambda: charges(alice, attacker.peer_id), "the attacker in the log", CUT_SECONDS)
            poll(lambda: attacker.peer_id not in alice.connected(), "the attacker gone")
        assert set(charges(alice, attacker.peer_id)) <= {"too_many_resets", "reads_nothing"}


async def crumbs(attacker: Wire, size: int) -> None:
    """Ask for an echo in frames of so many octets, as many as the window lets through, until she is cut."""
    await attacker.send(data(1, ECHO, SYN) + window(1, 2**31))
    allowed, seen = INITIAL - len(ECHO), 0
    while not attacker.cut.is_set():
        granted = attacker.heard[seen:]
        seen += len(granted)
        allowed += sum(frame.length for frame in granted if frame.kind == WINDOW and frame.stream == 1)
        count = min(500, allowed // size)
        if not count:
            await trio.sleep(0.001)
        elif not await attacker.send(data(1, bytes(size)) * count):
            break
        allowed -= count * size


async def test_data_by_the_octet(alice: Daemon, carol: JsPeer) -> None:
    with witnessed(alice, carol) as told:
        async with wire(alice, "crumbs") as attacker:
            with trio.fail_after(CUT_SECONDS):
                await crumbs(attacker, 1)
            await assert_cut(alice, attacker, "too_many_tiny_frames")
    assert told.cpu_seconds < CPU_SHARE * CUT_SECONDS, told


async def test_eight_at_once(alice: Daemon, carol: JsPeer) -> None:
    """Each takes turns with the honest."""

    async def attack(number: int) -> None:
        async with wire(alice, f"crumbs {number}") as attacker:
            await crumbs(attacker, 1)
            await assert_cut(alice, attacker, "too_many_tiny_frames")

    with witnessed(alice, carol), trio.fail_after(3 * CUT_SECONDS):
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(attack, number)


# --- what an honest peer may do ---------------------------------------------------------------------------------------


async def test_streams_go_on_after_goodbye_and_with_the_last_the_connection_ends(alice: Daemon) -> None:
    async with wire(alice, "leaver") as leaver:
        await leaver.send(data(1, ECHO, SYN))
        await until(lambda: leaver.said(1) == ECHO)
        await leaver.send(go_away() + data(1, bytes(32)))
        await until(lambda: leaver.said(1) == ECHO + bytes(32))
        assert not leaver.cut.is_set()
        await leaver.send(window(1, 0, FIN))
        # what alice herself had asked ends with it
        await leaver.send(b"".join(window(stream, 0, ACK | RST) for stream in range(2, 20, 2)))
        await leaver.refused()
    assert charges(alice, leaver.peer_id) == []


async def test_a_peer_that_goes_away_with_an_error_is_left_at_once(alice: Daemon) -> None:
    async with wire(alice, "hasty") as hasty:
        await hasty.send(data(1, ECHO, SYN) + go_away(2))
        await hasty.refused()
    assert charges(alice, hasty.peer_id) == []


# --- memory -----------------------------------------------------------------------------------------------------------

HALF_A_CALL = (
    b"\x13/multistream/1.0.0\n\x14/nexus/invoke/1.1.0\n"
    b'{"type":"invoke.open","version":1,"requestId":"r1","capability":"upper","inputFormat":"text/plain",'
    b'"outputMode":"stream","maxInputBytes":4000000}\n{"type":"invoke.chunk","data":"'
)


async def pour(attacker: Wire, streams: int, size: int) -> None:
    """Half a message of `size` octets on each stream, as the windows let it through."""
    left = dict.fromkeys(range(1, 2 * streams, 2), size)
    allowed = dict.fromkeys(left, INITIAL - len(HALF_A_CALL))
    for number in left:
        await attacker.send(data(number, HALF_A_CALL, SYN))
    seen = 0
    with trio.move_on_after(CUT_SECONDS):
        while not attacker.cut.is_set() and any(left.values()):
            heard = attacker.heard[seen:]
            seen += len(heard)
            for frame in heard:
                if frame.flags & RST:
                    left[frame.stream] = 0
                elif frame.kind == WINDOW and frame.stream in allowed:
                    allowed[frame.stream] += frame.length
            for number, wanted in left.items():
                count = min(allowed[number], wanted, 60_000)
                if count and await attacker.send(data(number, b"x" * count)):
                    allowed[number] -= count
                    left[number] -= count
            await trio.sleep(0.001)


async def test_half_messages_of_one_peer(alice: Daemon, carol: JsPeer) -> None:
    """32 streams, 2 MB each: the peer's share of memory ends it."""
    with witnessed(alice, carol):
        async with wire(alice, "half a call") as attacker:
            await pour(attacker, 32, 2_000_000)
            await assert_cut(alice, attacker, "memory_exhausted")


async def test_half_messages_of_one_peer_on_four_connections(alice: Daemon, carol: JsPeer) -> None:
    """As much as on one: what a peer may hold is counted over all of them."""
    resets = 0

    async def attack() -> None:
        nonlocal resets
        async with wire(alice, "half a call by four") as attacker:
            await pour(attacker, 8, 2_000_000)
            resets += sum(bool(frame.flags & RST) for frame in attacker.heard)

    with witnessed(alice, carol), trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(attack)
    assert resets, "it was not enough to matter"


@pytest.mark.slow
async def test_half_messages_of_eight_peers(alice: Daemon, carol: JsPeer) -> None:
    """They share what the daemon has for peers. It costs twice that at most: buffers grow ahead, blocks leave gaps."""

    async def attack(number: int) -> None:
        async with wire(alice, f"half a call {number}") as attacker:
            await pour(attacker, 32, 2_000_000)

    with witnessed(alice, carol, mebibytes=2 * limits.YAMUX_DAEMON_BYTES / limits.MIB), trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(attack, number)


# --- silence ----------------------------------------------------------------------------------------------------------


def test_a_frozen_daemon_is_dropped(own_home: Home) -> None:
    with Daemon("alice", own_home) as alice, Daemon("bob", own_home) as bob:
        connect(bob, alice)
        bob_id = bob.peer_id
        bob.process.popen.send_signal(signal.SIGSTOP)
        try:
            poll(lambda: bob_id not in alice.connected(), "bob given up", timeout=limits.YAMUX_PING_SECONDS + 15)
        finally:
            bob.process.popen.send_signal(signal.SIGCONT)

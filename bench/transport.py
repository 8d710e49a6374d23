"""`python -m bench.transport`: our Noise and Yamux beside py-libp2p's own, in one run, without a daemon above them.

Two processes on loopback, the same stock host in each; only what secures and multiplexes a connection differs. Rounds
of both sides in turn, medians of them. The ratio is above 1 where ours is better.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from typing import Any

import trio
from libp2p import create_identity_from_seed, create_new_x25519_key_pair, new_host
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from multiaddr import Multiaddr

from bench.figure import Figure, number, percentile
from nexusd.host.loggers import quieten
from nexusd.host.security import noise_only
from nexusd_protocols.yamux.budget import Budget

SINK, ECHO = TProtocol("/bench/sink"), TProtocol("/bench/echo")
LISTEN = "/ip4/127.0.0.1/tcp/0"
CHUNK = 65_536

FIGURES = (
    Figure("bulk", "one stream, writes of 64 KiB", "MB/s"),
    Figure("p50", "round trip of 64 B, median", "µs", more_is_better=False),
    Figure("p99", "round trip of 64 B, 99th percentile", "µs", more_is_better=False),
    Figure("calls", "new stream, request, response; one at a time", "/s"),
    Figure("calls16", "the same, 16 at once", "/s"),
    Figure("cpu", "processor time of both ends for a MB", "ms", more_is_better=False),
)


def host_of(side: str, name: str) -> Any:
    """A stock host; `ours` has our upgrader."""
    quieten()
    keys = create_identity_from_seed(hashlib.sha256(name.encode()).digest())
    noise = NoiseTransport(keys, noise_privkey=create_new_x25519_key_pair().private_key)
    host = new_host(key_pair=keys, sec_opt={NOISE: noise}, listen_addrs=[Multiaddr(LISTEN)])
    if side == "ours":
        host.get_network().upgrader = noise_only(keys, 10, Budget(), lambda *_: None)
    return host


async def serve(side: str) -> None:
    """The far end: says where it is, and serves until its input ends."""
    host = host_of(side, "bob")

    async def sink(stream: Any) -> None:
        wanted = int.from_bytes(await stream.read(8), "big")
        while wanted:
            wanted -= len(await stream.read(CHUNK))
        await stream.write(f"{time.process_time()}".encode())

    async def echo(stream: Any) -> None:
        with contextlib.suppress(StreamError):
            while True:
                await stream.write(await stream.read(CHUNK))
        await stream.close()

    host.set_stream_handler(SINK, sink)
    host.set_stream_handler(ECHO, echo)
    async with host.run([Multiaddr(LISTEN)]):
        print(host.get_transport_addrs()[0], host.get_id(), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        os._exit(0)  # nothing here is worth an orderly end


def measure(side: str, megabytes: int, trips: int) -> dict[str, float]:
    """One round."""
    argv = [sys.executable, "-m", "bench.transport", "--serve", side]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdin
        address, peer = process.stdout.readline().decode().split()
        found = trio.run(_measure, side, address.partition("/p2p/")[0], ID.from_string(peer), megabytes, trips)
        process.stdin.close()
        process.wait(10)
    return found


async def _measure(side: str, address: str, to: ID, megabytes: int, trips: int) -> dict[str, float]:
    host = host_of(side, "alice")
    async with host.run([Multiaddr(LISTEN)]):
        await host.get_network()._dial_addr_single_attempt(Multiaddr(address), to)
        await trio.sleep(0.5)  # identify
        found = await _round_trips(host, to, trips)
        found |= await _calls(host, to, trips // 4)
        found |= await _bulk(host, to, megabytes * 1_000_000)
        await host.close()
    return found


async def _round_trips(host: Any, to: ID, trips: int) -> dict[str, float]:
    stream = await host.new_stream(to, [ECHO])
    times = []
    for _ in range(trips):
        started = time.perf_counter()
        await stream.write(b"p" * 64)
        got = 0
        while got < 64:
            got += len(await stream.read(64 - got))
        times.append((time.perf_counter() - started) * 1e6)
    await stream.reset()
    return {"p50": percentile(times, 0.5), "p99": percentile(times, 0.99)}


async def _calls(host: Any, to: ID, count: int) -> dict[str, float]:
    async def one() -> None:
        stream = await host.new_stream(to, [ECHO])
        await stream.write(b"q" * 64)
        await stream.read(64)
        await stream.close()

    async def several(share: int) -> None:
        for _ in range(share):
            await one()

    started = time.perf_counter()
    await several(count)
    alone = count / (time.perf_counter() - started)
    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(16):
            nursery.start_soon(several, count // 16)
    return {"calls": alone, "calls16": count // 16 * 16 / (time.perf_counter() - started)}


async def _bulk(host: Any, to: ID, size: int) -> dict[str, float]:
    async def send(count: int) -> float:
        stream = await host.new_stream(to, [SINK])
        await stream.write(count.to_bytes(8, "big"))
        for start in range(0, count, CHUNK):
            await stream.write(data if count - start >= CHUNK else data[: count - start])
        used = float(await stream.read(100))
        await stream.close()
        return used

    data = os.urandom(CHUNK)
    theirs = await send(20_000_000)  # warm: windows grow
    mine, started = time.process_time(), time.perf_counter()
    theirs = await send(size) - theirs
    seconds = time.perf_counter() - started
    return {"bulk": size / 1e6 / seconds, "cpu": (time.process_time() - mine + theirs) * 1e3 / (size / 1e6)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.transport", description=__doc__)
    parser.add_argument("--serve", choices=("ours", "stock"), help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--trips", type=int, default=2000)
    options = parser.parse_args()
    if options.serve:
        trio.run(serve, options.serve)
        return
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for index in range(options.rounds):
        for side in ("ours", "stock") if index % 2 else ("stock", "ours"):
            for key, value in measure(side, options.megabytes, options.trips).items():
                found[key][side].append(value)
    print(f"{'':48} {'ours':>9} {'stock':>9}  ratio")
    for figure in FIGURES:
        ours, stock = (statistics.median(found[figure.key][side]) for side in ("ours", "stock"))
        title = f"{figure.title}, {figure.unit}"
        print(f"{title:48} {number(ours):>9} {number(stock):>9}  {figure.ratio(ours, stock):.2f}")


if __name__ == "__main__":
    main()

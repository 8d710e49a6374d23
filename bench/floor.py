"""`python -m bench.floor`: what the hops of a call cost without anything of a call.

    client -- Unix socket -- relay -- TCP -- relay -- Unix socket -- provider          and back

The relays are bare Trio: what comes in at one end goes out at the other, in the clear and unread. Client and provider
are plain blocking sockets. So this is the floor of a call through two daemons under Trio: below it no protocol gets.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import trio

from bench.figure import number, percentile
from bench.load import Spent

BYTES = 300
"""About what a small call has on each hop, once its lines are counted together."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.floor", description=__doc__.split("\n")[0])
    parser.add_argument("--trips", type=int, default=3000, metavar="N", help="round trips (3000)")
    parser.add_argument("--role", choices=("near", "far", "provider"), help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    match options.role:
        case "provider":
            _provide(options.place / "far.sock")
        case "near" | "far":
            trio.run(_near if options.role == "near" else _far, options.place)
        case _:
            _measure(options.trips)


def _measure(trips: int) -> None:
    with tempfile.TemporaryDirectory(prefix="nx-floor-") as directory, ExitStack() as processes:
        place = Path(directory)
        for role in ("far", "near", "provider"):
            argv = [sys.executable, "-m", "bench.floor", "--role", role, "--place", directory]
            processes.callback(_end, process := subprocess.Popen(argv, stdout=subprocess.PIPE))
            assert process.stdout is not None
            process.stdout.readline()  # it is ready
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place / "near.sock"))
            _trips(client, trips // 10)
            with Spent() as spent:
                began = time.perf_counter()
                times = _trips(client, trips)
                elapsed = time.perf_counter() - began
    print(f"round trips over the hops of a call, one at a time: {number(trips / elapsed)}/s")
    print(f"median: {number(1e3 * percentile(times, 0.5))} ms")
    print(f"processor time of all four processes, for each: {number(1e6 * spent.seconds / trips)} µs")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _trips(client: socket.socket, count: int) -> list[float]:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        client.sendall(b"x" * BYTES)
        left = BYTES
        while left:
            left -= len(client.recv(65_536))
        times.append(time.perf_counter() - began)
    return times


def _ready() -> None:
    print("ready", flush=True)


def _provide(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as provider:
        provider.connect(str(path))
        _ready()
        while data := provider.recv(65_536):
            provider.sendall(data)


async def _near(place: Path) -> None:
    far = await trio.open_tcp_stream("127.0.0.1", int((place / "port").read_text()))
    with _listening(place / "near.sock") as listener:
        _ready()
        client, _ = await listener.accept()
        await _relay(trio.SocketStream(client), far)


async def _far(place: Path) -> None:
    [tcp] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    (place / "port").write_text(str(tcp.socket.getsockname()[1]))
    with _listening(place / "far.sock") as listener:
        _ready()
        near = await tcp.accept()
        provider, _ = await listener.accept()
        await _relay(near, trio.SocketStream(provider))


def _listening(path: Path) -> trio.socket.SocketType:
    plain = socket.socket(socket.AF_UNIX)
    plain.bind(str(path))
    plain.listen(1)
    return trio.socket.from_stdlib_socket(plain)


async def _relay(one: trio.SocketStream, other: trio.SocketStream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_copy, one, other)
        nursery.start_soon(_copy, other, one)


async def _copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
    async for data in source:
        await target.send_all(data)


if __name__ == "__main__":
    main()

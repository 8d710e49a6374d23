"""What every stack is made to do, and the commands that say so: one JSON object a line, on standard input and output.

    serve    {"event":"ready","address":…}                    answers /bench/echo, /bench/sink, /bench/source
    drive    {"cmd":"connect","address":…}                    one connection, kept
             {"cmd":"trips","count":n,"size":bytes}           round trips on one stream        -> {"p50":µs,"p99":µs}
             {"cmd":"calls","count":n,"atOnce":k}             a new stream each, 64 B there and back  -> {"rate":per s}
             {"cmd":"up"|"down","total":n,"write":n}          one stream, writes of so many bytes     -> {"rate":MB/s}
             {"cmd":"dial","address":…,"count":n}             dial and close, in turn          -> {"p50":ms}
             {"cmd":"crowd","address":…,"count":n}            connections of so many hosts, kept

Sink: 8 bytes of count (big-endian), then so many bytes; one byte answers. Source: 8 bytes of count and 4 of the size of
a write; so many bytes come. The programs under js/ and go/ do the same in their language.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import trio

from bench.figure import percentile

ECHO: Final = "/bench/echo"
SINK: Final = "/bench/sink"
SOURCE: Final = "/bench/source"
READ: Final = 262_144
CALL_BYTES: Final = 64


class Pipe(Protocol):
    """A stream of some stack."""

    async def read(self, n: int) -> bytes:
        """Up to `n` bytes, none at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """All of it."""
        ...

    async def finish(self) -> None:
        """End it after all was said and read."""
        ...


class Host(Protocol):
    """One host of some stack."""

    async def connect(self, address: str) -> None:
        """Dial, until streams can be opened."""
        ...

    async def disconnect(self) -> None:
        """Close the connection."""
        ...

    async def open(self, protocol: str) -> Pipe:
        """A stream on the connection."""
        ...


Handler = Callable[[Pipe], Awaitable[None]]


async def echo(pipe: Pipe) -> None:
    """Give back what comes."""
    while data := await pipe.read(READ):
        await pipe.write(data)
    await pipe.finish()


async def sink(pipe: Pipe) -> None:
    """Take what was announced."""
    wanted = int.from_bytes(await exactly(pipe, 8), "big")
    while wanted:
        wanted -= len(await pipe.read(READ))
    await pipe.write(b".")
    await pipe.finish()


async def source(pipe: Pipe) -> None:
    """Give what was asked for."""
    asked = await exactly(pipe, 12)
    await _pour(pipe, int.from_bytes(asked[:8], "big"), int.from_bytes(asked[8:], "big"))
    await pipe.finish()


HANDLERS: Final[dict[str, Handler]] = {ECHO: echo, SINK: sink, SOURCE: source}


async def exactly(pipe: Pipe, n: int) -> bytes:
    """So many bytes. Raises EOFError."""
    data = b""
    while len(data) < n:
        more = await pipe.read(n - len(data))
        if not more:
            raise EOFError
        data += more
    return data


async def _pour(pipe: Pipe, count: int, size: int) -> None:
    data = os.urandom(size)
    for start in range(0, count, size):
        await pipe.write(data if count - start >= size else data[: count - start])


class Driver:
    """Carries out commands with a host; `crowd` makes further hosts."""

    def __init__(self, host: Host, another: Callable[[int], Awaitable[Host]] | None = None) -> None:
        self._host = host
        self._another = another
        self._crowd: list[Host] = []

    async def run(self) -> None:
        """Until standard input ends."""
        print(json.dumps({"event": "ready"}), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            request: dict[str, Any] = json.loads(line)
            answer = await getattr(self, request.pop("cmd"))(**request)
            print(json.dumps(answer or {}), flush=True)

    async def connect(self, address: str) -> None:
        await self._host.connect(address)

    async def trips(self, count: int, size: int) -> dict[str, float]:
        pipe = await self._host.open(ECHO)
        times = []
        data = b"p" * size
        for number in range(count + 100):
            began = time.perf_counter()
            await pipe.write(data)
            await exactly(pipe, size)
            if number >= 100:
                times.append((time.perf_counter() - began) * 1e6)
        await pipe.finish()
        return {"p50": percentile(times, 0.5), "p99": percentile(times, 0.99)}

    async def calls(self, count: int, atOnce: int) -> dict[str, float]:  # noqa: N803 - as on the wire
        async def several(share: int) -> None:
            for _ in range(share):
                pipe = await self._host.open(ECHO)
                await pipe.write(b"q" * CALL_BYTES)
                await exactly(pipe, CALL_BYTES)
                await pipe.finish()

        await several(20)
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(atOnce):
                nursery.start_soon(several, count // atOnce)
        return {"rate": count // atOnce * atOnce / (time.perf_counter() - began)}

    async def up(self, total: int, write: int) -> dict[str, float]:
        pipe = await self._host.open(SINK)
        await pipe.write(total.to_bytes(8, "big"))
        began = time.perf_counter()
        await _pour(pipe, total, write)
        await exactly(pipe, 1)
        seconds = time.perf_counter() - began
        await pipe.finish()
        return {"rate": total / 1e6 / seconds}

    async def down(self, total: int, write: int) -> dict[str, float]:
        pipe = await self._host.open(SOURCE)
        began = time.perf_counter()
        await pipe.write(total.to_bytes(8, "big") + write.to_bytes(4, "big"))
        left = total
        while left:
            left -= len(await pipe.read(READ))
        seconds = time.perf_counter() - began
        await pipe.finish()
        return {"rate": total / 1e6 / seconds}

    async def dial(self, address: str, count: int) -> dict[str, float]:
        times = []
        for number in range(count + 3):
            await self._host.disconnect()
            began = time.perf_counter()
            await self._host.connect(address)
            if number >= 3:
                times.append((time.perf_counter() - began) * 1e3)
        return {"p50": percentile(times, 0.5)}

    async def crowd(self, address: str, count: int) -> None:
        if self._another is None:
            raise NotImplementedError("one connection is all there is")
        for number in range(count):
            host = await self._another(number)
            await host.connect(address)
            self._crowd.append(host)


def say_ready(address: str) -> None:
    """The serving end is there."""
    print(json.dumps({"event": "ready", "address": address}), flush=True)


async def until_told() -> None:
    """Serve until standard input ends."""
    await trio.to_thread.run_sync(sys.stdin.read)
    os._exit(0)  # nothing here is worth an orderly end

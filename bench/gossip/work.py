"""What every stack is made to do, and the commands that say so: one JSON object a line, on standard input and output.

    {"event":"ready","address":…}
    {"cmd":"connect","address":…}
    {"cmd":"join"}                            -> once at least one other member is known
    {"cmd":"members","count":n}               -> once so many other members are known
    {"cmd":"expect","count":n}                begin to count anew
    {"cmd":"publish","count":n,"size":bytes,"rate":per second, 0 for as fast as it goes}  -> {"began":s}
    {"cmd":"report","patience":s}             wait until all came, or nothing came for so long
                                              -> {"count":n,"last":s,"p50":ms,"p99":ms}

A message begins with 8 bytes: nanoseconds of CLOCK_MONOTONIC, which all processes of a host share.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Final, Protocol

import trio

from bench.figure import percentile

TOPIC: Final = "bench"
"""Not of ours: every stack has its own, cheapest message ids there."""


class Member(Protocol):
    """One host of some stack in the topic."""

    async def connect(self, address: str) -> None: ...

    async def join(self) -> None: ...

    def members(self) -> int:
        """Others known to be subscribed."""
        ...

    async def publish(self, data: bytes) -> None: ...


class Worker:
    """Carries out commands with a member; the member tells it what it `heard`."""

    def __init__(self) -> None:
        self._expected = 0
        self._latencies: list[float] = []
        self._last = 0.0
        self._came = trio.Event()

    def heard(self, data: bytes) -> None:
        """A message came."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self._latencies.append((now - int.from_bytes(data[:8], "big")) / 1e6)
        self._last = now / 1e9
        self._came.set()

    async def run(self, member: Member, address: str) -> None:
        """Until standard input ends."""
        print(json.dumps({"event": "ready", "address": address}), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            request: dict[str, Any] = json.loads(line)
            answer = await getattr(self, "_" + request.pop("cmd"))(member, **request)
            print(json.dumps(answer or {}), flush=True)

    async def _connect(self, member: Member, address: str) -> None:
        await member.connect(address)

    async def _join(self, member: Member) -> None:
        await member.join()

    async def _members(self, member: Member, count: int) -> None:
        with trio.fail_after(30):
            while member.members() < count:  # noqa: ASYNC110 - no stack tells of it
                await trio.sleep(0.05)
        await trio.sleep(2.5)  # two heartbeats: the mesh is there

    async def _expect(self, _member: Member, count: int) -> None:
        self._expected, self._latencies = count, []

    async def _publish(self, member: Member, count: int, size: int, rate: float) -> dict[str, float]:
        first = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        began = time.perf_counter()
        for number in range(count):
            if rate:
                await trio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            stamp = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            await member.publish(stamp.to_bytes(8, "big") + bytes(size - 8))
        return {"began": first / 1e9}

    async def _report(self, _member: Member, patience: float) -> dict[str, float]:
        while len(self._latencies) < self._expected:
            self._came = trio.Event()
            with trio.move_on_after(patience) as waiting:
                await self._came.wait()
            if waiting.cancelled_caught:
                break
        found = self._latencies
        return {
            "count": len(found),
            "last": self._last,
            "p50": percentile(found, 0.5) if found else 0.0,
            "p99": percentile(found, 0.99) if found else 0.0,
        }

"""Round trips on the socket: the status of the node, asked one after the other by one client."""

from __future__ import annotations

import time

from bench.figure import Figure, Group, Sample, cost
from bench.jspair import JsPair
from bench.load import Spent
from bench.pair import DaemonPair

RATE = Figure("rpc", "RPC round trips, one client", "/s")


def _seconds(quick: bool) -> float:
    return 0.5 if quick else 2.0


def _ours(pair: DaemonPair, quick: bool) -> Sample:
    with pair.client(pair.b) as nexus:
        count = 0
        began = time.perf_counter()
        with Spent() as spent:
            while (elapsed := time.perf_counter() - began) < _seconds(quick):
                nexus.status()
                count += 1
    return _sample(count, elapsed, spent)


def _js(pair: JsPair, quick: bool) -> Sample:
    with Spent() as spent:
        done = pair.call(pair.a, "rpcCall", path=str(pair.place / "rpc.sock"), seconds=_seconds(quick))
    return _sample(done["count"], done["seconds"], spent)


def _sample(count: int, seconds: float, spent: Spent) -> Sample:
    return {"rpc": count / seconds, "rpc-cpu": 1e6 * spent.seconds / count}


GROUP = Group("rpc", (RATE, cost(RATE)), _ours, _js)

"""`python -m bench.transport`: our host beside stock py-libp2p, js-libp2p, go-libp2p and bare encrypted TCP, in one go.

Two processes of a stack on loopback; rounds of all stacks in turn; median (lowest–highest). Nothing is pinned unless
asked for. A round beside which other processes took more than a tenth of a core is named below the table.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from bench.figure import Figure, number
from bench.rounds import disturbance, in_turn
from bench.transport.side import TRANSPORTS, Pair
from tests.harness import go, js

FIGURES = (
    Figure("up", "one stream out, writes of 64 KiB", "MB/s"),
    Figure("down", "one stream in, writes of 64 KiB", "MB/s"),
    Figure("small", "one stream out, writes of 4 KiB", "MB/s"),
    Figure("cpu", "processor time of both ends for a MB", "ms", more_is_better=False),
    Figure("p50", "round trip of 64 B, median", "µs", more_is_better=False),
    Figure("p99", "round trip of 64 B, 99th percentile", "µs", more_is_better=False),
    Figure("calls", "new stream, 64 B there and back; one at a time", "/s"),
    Figure("calls32", "the same, 32 at once", "/s"),
    Figure("dial", "dial to a usable connection, median", "ms", more_is_better=False),
    Figure("memory", "memory of a connection that rests", "KB", more_is_better=False),
)
LEFT_OUT = {"raw": {"calls", "calls32", "dial", "memory"}}
"""Bare TCP has no streams: a figure for them would compare something else."""


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is done in a round."""

    bulk: int = 512_000_000
    small: int = 64_000_000
    trips: int = 5000
    calls: int = 2000
    dials: int = 50
    crowd: int = 24


QUICK = Amount(bulk=8_000_000, small=2_000_000, trips=100, calls=64, dials=3, crowd=3)


def measure(stack: str, transport: str, amount: Amount, *, pin: bool) -> dict[str, float]:
    """One round of one stack."""
    left_out = LEFT_OUT.get(stack, set())
    with Pair(stack, transport, pin=pin) as pair:
        ask = pair.near.ask
        ask("up", total=amount.bulk // 8, write=65_536)  # windows grow, code gets warm
        began = pair.seconds
        found = {"up": ask("up", total=amount.bulk, write=65_536)["rate"]}
        found["cpu"] = (pair.seconds - began) * 1e3 / (amount.bulk / 1e6)
        found["down"] = ask("down", total=amount.bulk, write=65_536)["rate"]
        found["small"] = ask("up", total=amount.small, write=4096)["rate"]
        found |= ask("trips", count=amount.trips, size=64)
        if "calls" not in left_out:
            found["calls"] = ask("calls", count=amount.calls, atOnce=1)["rate"]
            found["calls32"] = ask("calls", count=amount.calls, atOnce=32)["rate"]
        if "dial" not in left_out:
            found["dial"] = ask("dial", address=pair.address, count=amount.dials)["p50"]
    if "memory" not in left_out:
        with Pair(stack, transport, pin=pin) as pair:
            pair.near.ask("crowd", address=pair.address, count=amount.crowd // 4)  # what the first ones cost comes once
            before = pair.far.rss
            pair.near.ask("crowd", address=pair.address, count=amount.crowd)
            found["memory"] = (pair.far.rss - before) / amount.crowd / 1e3
    return found


Series = Mapping[str, Mapping[str, Sequence[float]]]
"""Figure to stack to values."""


def table(stacks: Sequence[str], found: Series) -> str:
    """Median (lowest–highest) of each stack; in brackets how much better ours is."""
    rows = [["measure", "unit", *stacks]]
    for figure in FIGURES:
        ours = found[figure.key].get("ours", ())
        row = [figure.title, figure.unit]
        for stack in stacks:
            values = found[figure.key].get(stack, ())
            if not values:
                row.append("-")
                continue
            cell = f"{number(statistics.median(values))} ({number(min(values))}–{number(max(values))})"
            if ours and stack != "ours":
                cell += f" [{figure.ratio(statistics.median(ours), statistics.median(values)):.2f}]"
            row.append(cell)
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _available(stacks: Sequence[str]) -> list[str]:
    found = []
    for stack in stacks:
        try:
            if stack == "js":
                js.install()
            if stack == "go":
                go.build("transport")
        except (js.JsUnavailableError, go.GoUnavailableError) as error:
            print(f"bench: without {stack}: {error}", file=sys.stderr)
            continue
        found.append(stack)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.transport", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round: whether it works, not how fast it is")
    parser.add_argument("--only", default=",".join(TRANSPORTS), help="stacks, with commas between (%(default)s)")
    parser.add_argument("--transport", default="tcp,ws", help="tcp, ws or both (%(default)s)")
    parser.add_argument("--pin", action="store_true", help="one core for each end")
    options = parser.parse_args(argv)
    stacks = _available([stack for stack in TRANSPORTS if stack in options.only.split(",")])
    rounds = 1 if options.quick else options.rounds
    amount = QUICK if options.quick else Amount()
    pinned = "one core for each end" if options.pin else "nothing pinned"
    print(f"{os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}; {rounds} rounds; {pinned}.")
    for transport in options.transport.split(","):
        sides = [stack for stack in stacks if transport in TRANSPORTS[stack]]
        over = partial(measure, transport=transport, amount=amount, pin=options.pin)
        found, disturbed = in_turn(sides, rounds, over, what=f"{transport}, ")
        print(f"\n{transport}: median (lowest–highest) [how many times better ours is]\n\n{table(sides, found)}\n")
        if disturbed:
            print(f"{disturbance(disturbed)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

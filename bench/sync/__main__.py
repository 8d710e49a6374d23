"""`python -m bench.sync`: what it costs that rooms forget nothing.

Comparing two members' rooms, against the size of the room and against the difference, in memory and between daemons;
messages taken in, beside bare verifying; content put and got, beside a bare file and Helia.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import trio

from bench.figure import number
from bench.load import DISTURBED, Neighbours
from bench.rounds import disturbance
from bench.sync import comparing, loopback, storing, taking
from bench.sync.comparing import Cost
from bench.sync.loopback import Caught
from bench.sync.plot import plot
from tests.harness import js

SIZES = (1000, 10_000, 100_000, 1_000_000)
DIFFERENT = 10
AT = 100_000
DIFFERENCES = (1, 10, 100, 1000, 10_000)
QUICK_SIZES = (1000, 2000)
QUICK_AT = 2000
QUICK_DIFFERENCES = (1, 10, 100)

REUNIONS = ((1000, 10), (10_000, 10), (100_000, 10), (10_000, 1000))
QUICK_REUNIONS = ((1000, 10),)
"""Messages that both have, and how many one of them has not."""

PARTS = ("compare", "meet", "take", "store")
STORES = ("bare", "service", "socket", "pieces", "helia")
TITLES = {
    "bare": "SHA-256 and a file",
    "service": "the content service",
    "socket": "a program at the daemon's socket, its files handed over",
    "pieces": "the same, in pieces of base64",
    "helia": "Helia, its blocks in files",
}


def measure_costs(
    directory: Path, sizes: Sequence[int], at: int, differences: Sequence[int], repeat: int, tell: Callable[[str], None]
) -> list[Cost]:
    """One for each size and each number of differences: the one with the median of the seconds."""

    async def run() -> dict[tuple[int, int], list[Cost]]:
        found: dict[tuple[int, int], list[Cost]] = defaultdict(list)
        async for cost in comparing.costs(directory, sizes, DIFFERENT, at, differences, repeat):
            grown = max(size for size in {*sizes, at} if size <= cost.messages)
            found[grown, cost.different].append(cost)
            tell(f"{cost.messages:,} messages, {cost.different:,} different: {cost.bytes:,} bytes")
        return found

    groups = trio.run(run).values()
    return [sorted(group, key=lambda cost: cost.seconds)[len(group) // 2] for group in groups]


def measure_stores(directory: Path, megabytes: int, stores: Sequence[str]) -> dict[str, storing.Rates]:
    """One round of each."""
    data = storing.made(megabytes)
    run: Mapping[str, Callable[[], storing.Rates]] = {
        "bare": lambda: storing.bare(directory, data),
        "service": lambda: trio.run(storing.service, directory, data),
        "socket": lambda: storing.socket(data),
        "pieces": lambda: storing.pieces(data),
        "helia": lambda: storing.helia(directory, megabytes),
    }
    return {name: run[name]() for name in stores}


def by_size(costs: Sequence[Cost]) -> list[Cost]:
    """Of the same difference, by the size of the room."""
    return sorted((cost for cost in costs if cost.different == DIFFERENT), key=lambda cost: cost.messages)


def by_difference(costs: Sequence[Cost], at: int, sizes: Sequence[int]) -> list[Cost]:
    """Of one room, by the difference."""
    end = min((size for size in sizes if size > at), default=1 << 60)
    return sorted((cost for cost in costs if at <= cost.messages < end), key=lambda cost: cost.different)


def _print_costs(title: str, costs: Sequence[Cost]) -> None:
    print(f"\n| {title} | different | bytes | of them compare | round trips | comparisons | seconds | of processor |")
    print("|--:|" + "--:|" * 7)
    for cost in costs:
        figures = (cost.messages, cost.different, cost.bytes, cost.compared, cost.trips, cost.sessions)
        print(
            "| " + " | ".join(f"{figure:,}" for figure in figures) + f" | {cost.seconds:.3f} | {cost.cpu_seconds:.3f} |"
        )


def _print_reunions(found: Sequence[Caught]) -> None:
    print("\n| messages, two daemons | different | bytes | seconds | of processor | bytes once equal | seconds |")
    print("|--:|" + "--:|" * 6)
    for one in found:
        print(
            f"| {one.messages:,} | {one.different:,} | {one.bytes:,} | {one.seconds:.2f} | {one.cpu_seconds:.2f}"
            f" | {one.again_bytes:,} | {one.again_seconds:.3f} |"
        )


def _spread(values: Sequence[float]) -> str:
    return f"{number(statistics.median(values))} ({number(min(values))}–{number(max(values))})"


def _print_rates(found: Sequence[Mapping[str, taking.Rates]]) -> None:
    print("\n| messages a second | | of bare | a second of processor | of bare |\n|---|--:|--:|--:|--:|")
    for name in found[0]:
        cells = []
        for way in (0, 1):
            share = statistics.median(rates[name][way] / rates["verify"][way] for rates in found)
            cells += [_spread([rates[name][way] for rates in found]), f"{share:.2f}"]
        title = (
            "Ed25519 signatures verified, nothing else" if name == "verify" else f"verified, read, committed: {name}"
        )
        print(f"| {title} | " + " | ".join(cells) + " |")


def _print_stores(rounds: Sequence[Mapping[str, storing.Rates]], megabytes: int) -> None:
    for way in ("put", "get"):
        print(f"\n| {way}, {megabytes} MB | MB/s | of bare | processor, ms for one MB | of bare |")
        print("|---|--:|--:|--:|--:|")
        for name in rounds[0]:
            cells = []
            for figure in (way, f"{way}-cpu"):
                share = statistics.median(found[name][figure] / found["bare"][figure] for found in rounds)
                cells += [_spread([found[name][figure] for found in rounds]), f"{share:.2f}"]
            print(f"| {TITLES[name]} | " + " | ".join(cells) + " |")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.sync", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and once: whether it works, not how fast it is")
    parser.add_argument("--largest", type=int, default=SIZES[-1], metavar="N", help="messages in the largest room")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the costs as an SVG picture")
    options = parser.parse_args(argv)
    parts = options.only or PARTS
    rounds = 1 if options.quick else options.rounds
    sizes = QUICK_SIZES if options.quick else [size for size in SIZES if size <= options.largest]
    at, differences = (QUICK_AT, QUICK_DIFFERENCES) if options.quick else (min(AT, options.largest), DIFFERENCES)
    disturbed: list[str] = []

    def tell(text: str) -> None:
        print(f"bench: {text}", file=sys.stderr, flush=True)

    def note(name: str, neighbours: Neighbours) -> None:
        if neighbours.share > DISTURBED:
            disturbed.append(f"{name} ({neighbours.share:.2f})")

    print(f"{os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}; {rounds} rounds.")
    with tempfile.TemporaryDirectory(prefix="nexus-bench-") as name:
        directory = Path(name)
        if "compare" in parts:
            with Neighbours() as neighbours:
                costs = measure_costs(directory, sizes, at, differences, rounds, tell)
            note("comparing", neighbours)
            _print_costs("messages in the room", by_size(costs))
            _print_costs("messages in the room", by_difference(costs, at, sizes))
            if options.plot:
                differing = [cost for cost in by_difference(costs, at, sizes) if cost.different]
                options.plot.write_text(plot(by_size(costs), differing))
        if "meet" in parts:
            reunions = []
            with Neighbours() as neighbours:
                for messages, different in QUICK_REUNIONS if options.quick else REUNIONS:
                    tell(f"two daemons with {messages:,} messages meet")
                    reunions.append(loopback.caught_up(messages, different))
            note("meeting", neighbours)
            _print_reunions(reunions)
        if "take" in parts:
            tell("taking in")
            with Neighbours() as neighbours:
                logs = {"an empty room": directory / "carol.sqlite"}
                if "compare" in parts:
                    logs[f"one of {max(sizes):,}"] = directory / "alice.sqlite"
                rates = trio.run(taking.rates, logs, 500 if options.quick else 10_000, rounds)
            note("taking in", neighbours)
            _print_rates(rates)
        if "store" in parts:
            stores, megabytes = _stores(), 8 if options.quick else 128
            found = []
            for each in range(rounds):
                tell(f"storing, round {each + 1} of {rounds}")
                with Neighbours() as neighbours:
                    found.append(measure_stores(directory, megabytes, stores))
                note(f"storing in round {each + 1}", neighbours)
            _print_stores(found, megabytes)
    if disturbed:
        print(f"\n{disturbance(disturbed)}")
    return 0


def _stores() -> Sequence[str]:
    try:
        js.install()
        js.install(js.HELIA)
    except js.JsUnavailableError as error:
        print(f"bench: without Helia: {error}", file=sys.stderr)
        return [name for name in STORES if name != "helia"]
    return STORES


if __name__ == "__main__":
    sys.exit(main())

"""`python -m bench.content`: a file fetched by bitswap: ours from ours, Helia from Helia, and each from the other.

Two processes on loopback, blocks in memory on both sides, the file in Kubo's layout of 256 KiB leaves, read to its end
and hashed; rounds of all pairs in turn; median (lowest–highest).
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
from collections.abc import Sequence

from bench.figure import Figure, number
from bench.program import Program
from bench.rounds import Found, disturbance, in_turn
from tests.harness import js

PAIRS = ("ours from ours", "helia from helia", "ours from helia", "helia from ours")
MEGABYTES = 128
FIGURES = (
    Figure("rate", f"{MEGABYTES} MB", "MB/s"),
    Figure("cpu", "processor time of both for one MB", "ms", more_is_better=False),
    Figure("rss", "memory of the reader, without the file that it keeps", "MB", more_is_better=False),
)


def _start(stack: str, name: str) -> Program:
    if stack == "helia":
        return Program([str(js.NODE), str(js.HELIA / "peer.mjs")], None)
    return Program([sys.executable, "-m", "bench.content.ours", name], None)


def _ask(program: Program, cmd: str, **options: object) -> dict[str, object]:
    answer = program.ask(cmd, **options)
    if not answer["ok"]:
        raise RuntimeError(f"{cmd}: {answer['error']}")
    return dict(answer["result"])


def measure(pair: str, megabytes: int) -> dict[str, float]:
    """One round of one pair."""
    reader_stack, _, giver_stack = pair.split()
    giver, reader = _start(giver_stack, "giver"), _start(reader_stack, "reader")
    try:
        _ask(reader, "dial", address=giver.ready["addrs"][0])
        warm = _ask(giver, "addFile", seed="warm", size=8_000_000, usual=True)
        _ask(reader, "readFile", cid=warm["cid"])
        file = _ask(giver, "addFile", seed="file", size=megabytes * 1_000_000, usual=True)
        used = giver.seconds + reader.seconds
        read = _ask(reader, "readFile", cid=file["cid"])
        assert read["size"] == megabytes * 1_000_000
        return {
            "rate": megabytes / float(str(read["seconds"])),
            "cpu": (giver.seconds + reader.seconds - used) * 1e3 / megabytes,
            "rss": reader.rss / 1e6 - megabytes - 8,
        }
    finally:
        giver.close()
        reader.close()


def _print(pairs: Sequence[str], found: Found) -> None:
    print("| measure | unit | " + " | ".join(pairs) + " |\n|---|---|" + "--:|" * len(pairs))
    for figure in FIGURES:
        cells = []
        for pair in pairs:
            values = found[figure.key][pair]
            cells.append(f"{number(statistics.median(values))} ({number(min(values))}–{number(max(values))})")
        print(f"| {figure.title} | {figure.unit} | " + " | ".join(cells) + " |")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.content", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round: whether it works, not how fast it is")
    options = parser.parse_args(argv)
    pairs = list(PAIRS)
    try:
        js.install()
        js.install(js.HELIA)
    except js.JsUnavailableError as error:
        print(f"bench: without Helia: {error}", file=sys.stderr)
        pairs = pairs[:1]
    rounds = 1 if options.quick else options.rounds
    found, disturbed = in_turn(pairs, rounds, lambda pair: measure(pair, 8 if options.quick else MEGABYTES))
    print(f"{os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}; {rounds} rounds.\n")
    _print(pairs, found)
    if disturbed:
        print(f"\n{disturbance(disturbed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

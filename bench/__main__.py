"""`python -m bench` (or `make bench`): rounds of ours and theirs in turn, then the table of medians."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import traceback
from collections import defaultdict
from typing import Any

from bench import calls, direct, process, rooms, rpc
from bench.figure import Group, Series, table
from bench.jspair import JsPair
from bench.load import DISTURBED, Neighbours
from bench.pair import DaemonPair
from tests.harness import js

GROUPS = (process.GROUP, rpc.GROUP, rooms.GROUP, direct.GROUP, calls.GROUP)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: whether it works, not how fast it is")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="rounds of each side (5; 1 with --quick)")
    parser.add_argument("--only", action="append", choices=[group.name for group in GROUPS], help="only this group")
    parser.add_argument("--side", choices=("ours", "js"), help="only one side")
    options = parser.parse_args(argv)
    groups = [group for group in GROUPS if not options.only or group.name in options.only]
    rounds = options.rounds or (1 if options.quick else 5)
    theirs = options.side != "ours"
    if theirs:
        try:
            js.install()
        except js.JsUnavailableError as error:
            print(f"bench: without js-libp2p: {error}", file=sys.stderr)
            theirs = False
    series: dict[str, Series] = defaultdict(Series)
    disturbed: list[str] = []
    failed = False
    for number in range(1, rounds + 1):
        sides: list[tuple[str, Any]] = [("ours", DaemonPair), ("js", JsPair)]
        for side, rig in sides if number % 2 else reversed(sides):
            if (side == "js" and not theirs) or options.side not in (None, side):
                continue
            print(f"bench: round {number} of {rounds}, {side}", file=sys.stderr, flush=True)
            failed |= not _round(groups, side, rig, options.quick, series, disturbed, f"{number} {side}")
    print(f"\n{_machine()}, {rounds} round{'s' * (rounds > 1)} of each side in turn; median (lowest–highest).\n")
    print(table(groups, series))
    print("\nThe ratio is above 1 where nexusd is better.")
    for group in groups:
        if group.note:
            print(f"* {group.note}")
    if disturbed:
        print(f"* Other processes took more than {DISTURBED:.0%} of a core during: {', '.join(disturbed)}.")
    return int(failed)


def _round(
    groups: list[Group],
    side: str,
    rig: Any,
    quick: bool,
    series: dict[str, Series],
    disturbed: list[str],
    name: str,
) -> bool:
    """One round of one side, on a pair of its own. A group that fails is reported and leaves a gap."""
    well = True
    with rig() as pair:
        for group in groups:
            neighbours = Neighbours()
            try:
                with neighbours:
                    sample = (group.ours if side == "ours" else group.js)(pair, quick)
            except Exception:
                print(f"bench: {side} {group.name} failed", file=sys.stderr)
                traceback.print_exc()
                well = False
                continue
            if neighbours.share > DISTURBED:
                disturbed.append(f"{name} {group.name} ({neighbours.share:.2f})")
            for key, value in sample.items():
                (series[key].ours if side == "ours" else series[key].js).append(value)
    return well


def _machine() -> str:
    return f"{os.cpu_count()} CPUs, {platform.system()} {platform.release()}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())

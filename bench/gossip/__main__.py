"""`python -m bench.gossip`: rooms of our host beside js-libp2p's and stock py-libp2p's GossipSub, in one run.

Two processes, and ten of which each is connected with each, on loopback; rounds of all stacks in turn; median
(lowest–highest). Signatures are made and checked everywhere, nothing is stored.
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
from bench.transport.side import BENCH
from tests.harness import js

STACKS = ("ours", "js", "stock")
SIZES = (200, 1024)
CROWD = 10
PACED = 200
PATIENCE = 5.0

FIGURES = (
    *(Figure(f"rate{size}", f"two hosts: heard, {size} B, as fast as it goes", "/s") for size in SIZES),
    *(Figure(f"loss{size}", f"two hosts: lost of these, {size} B", "%", more_is_better=False) for size in SIZES),
    *(
        Figure(f"cpu{size}", f"two hosts: processor time for one heard, {size} B", "ms", more_is_better=False)
        for size in SIZES
    ),
    *(Figure(f"p50-{size}", f"two hosts: {PACED}/s, {size} B, median", "ms", more_is_better=False) for size in SIZES),
    *(
        Figure(f"p99-{size}", f"two hosts: {PACED}/s, {size} B, 99th percentile", "ms", more_is_better=False)
        for size in SIZES
    ),
    Figure("crowd", f"{CROWD} hosts, one speaks: heard in all, 200 B", "/s"),
    Figure("crowd-loss", f"{CROWD} hosts: lost of these", "%", more_is_better=False),
)


def _start(stack: str, name: str) -> Program:
    if stack == "js":
        return Program([str(js.NODE), str(BENCH / "js" / "gossip.mjs"), name], None)
    return Program([sys.executable, "-m", f"bench.gossip.{stack}", name], None)


class Room:
    """So many processes of a stack, each connected with each, in one topic."""

    def __init__(self, stack: str, count: int) -> None:
        self.members: list[Program] = []
        try:
            for index in range(count):
                self.members.append(_start(stack, f"member {index}"))
            for index, member in enumerate(self.members):
                for other in self.members[:index]:
                    member.ask("connect", address=other.ready["address"])
            for member in self.members:
                member.ask("join")
            for member in self.members:
                member.ask("members", count=count - 1)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for member in self.members:
            member.close()

    def say(self, count: int, size: int, rate: float) -> dict[str, float]:
        """The first speaks, the others listen."""
        speaker, *listeners = self.members
        for listener in listeners:
            listener.ask("expect", count=count)
        used = sum(member.seconds for member in self.members)
        began = speaker.ask("publish", count=count, size=size, rate=rate)["began"]
        heard = [listener.ask("report", patience=PATIENCE) for listener in listeners]
        total = sum(each["count"] for each in heard)
        return {
            "rate": total / (max(each["last"] for each in heard) - began) if total else 0.0,
            "loss": 100 * (1 - total / count / len(listeners)),
            "cpu": (sum(member.seconds for member in self.members) - used) * 1e3 / max(1, total),
            "p50": statistics.median(each["p50"] for each in heard),
            "p99": max(each["p99"] for each in heard),
        }


def measure(stack: str, *, quick: bool) -> dict[str, float]:
    """One round of one stack."""
    found: dict[str, float] = {}
    burst, paced, crowd = (200, 40, 40) if quick else (5000, 1000, 500)
    room = Room(stack, 2)
    try:
        for size in SIZES:
            room.say(burst // 10, size, 0)  # code gets warm
            fast = room.say(burst, size, 0)
            found |= {f"rate{size}": fast["rate"], f"loss{size}": fast["loss"], f"cpu{size}": fast["cpu"]}
            slow = room.say(paced, size, PACED)
            found |= {f"p50-{size}": slow["p50"], f"p99-{size}": slow["p99"]}
    finally:
        room.close()
    room = Room(stack, 3 if quick else CROWD)
    try:
        room.say(crowd // 10, 200, 0)
        many = room.say(crowd, 200, 0)
        found |= {"crowd": many["rate"], "crowd-loss": many["loss"]}
    finally:
        room.close()
    return found


def _print(stacks: Sequence[str], found: Found) -> None:
    print("| measure | unit | " + " | ".join(stacks) + " |\n|---|---|" + "--:|" * len(stacks))
    for figure in FIGURES:
        row = [figure.title, figure.unit]
        ours = found[figure.key].get("ours", [])
        for stack in stacks:
            values = found[figure.key][stack]
            cell = f"{number(statistics.median(values))} ({number(min(values))}–{number(max(values))})"
            if ours and stack != "ours" and "loss" not in figure.key:
                cell += f" [{figure.ratio(statistics.median(ours), statistics.median(values)):.2f}]"
            row.append(cell)
        print("| " + " | ".join(row) + " |")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.gossip", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round: whether it works, not how fast it is")
    parser.add_argument("--only", default=",".join(STACKS), help="stacks, with commas between (%(default)s)")
    options = parser.parse_args(argv)
    stacks = [stack for stack in STACKS if stack in options.only.split(",")]
    if "js" in stacks:
        try:
            js.install()
        except js.JsUnavailableError as error:
            print(f"bench: without js: {error}", file=sys.stderr)
            stacks.remove("js")
    rounds = 1 if options.quick else options.rounds
    found, disturbed = in_turn(stacks, rounds, lambda stack: measure(stack, quick=options.quick))
    print(f"{os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}; {rounds} rounds.")
    print("Median (lowest–highest) [how many times better ours is].\n")
    _print(stacks, found)
    if disturbed:
        print(f"\n{disturbance(disturbed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

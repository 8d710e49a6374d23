"""Fuzz every parser for a bounded time: `python -m tests.fuzz [--seconds N] [--seed N] [NAME …]`.

With atheris (libFuzzer, coverage-guided) where it is installed, each target in a process of its own, as many at once
as there are processors. Without it, seeded random mutations of the seeds, which finds less, and says so. Exits with 1
if anything was found; the input that did it is kept in `.fuzz/`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.inputs import load, mutations, names

CRASHES = Path(".fuzz")
# imports, the seeds themselves and the last slow input come on top of the time that is asked for
GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one target. `finding` is empty if nothing was found."""

    name: str
    executions: int
    seconds: float
    finding: str


def with_atheris(name: str, seconds: int) -> Outcome:
    """Run a worker and read what it says."""
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz.worker", name, str(seconds), str(CRASHES)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds + GRACE_S, check=False)
    except subprocess.TimeoutExpired as error:
        return Outcome(name, 0, time.monotonic() - began, f"did not end in time\n{_tail(error.stderr or b'')}")
    text = done.stderr.decode(errors="replace")
    executions = re.findall(r"stat::number_of_executed_units:\s+(\d+)", text) or re.findall(
        r"^#(\d+)", text, re.MULTILINE
    )
    finding = "" if done.returncode == 0 else f"exit code {done.returncode}\n{_tail(done.stdout + done.stderr)}"
    return Outcome(name, int(executions[-1]) if executions else 0, time.monotonic() - began, finding)


def with_mutations(name: str, seconds: int, seed: int) -> Outcome:
    """Run in this process."""
    began = time.monotonic()
    target = load(name)
    executions = 0
    for executions, data in enumerate(mutations(target.seeds, seed), 1):
        try:
            target.run(data)
        except Exception:
            crash = CRASHES / f"{name}-{seed}-{executions}"
            crash.write_bytes(data)
            return Outcome(name, executions, time.monotonic() - began, f"{crash}\n{traceback.format_exc()}")
        if executions % 64 == 0 and time.monotonic() - began >= seconds:
            break
    return Outcome(name, executions, time.monotonic() - began, "")


def _tail(stderr: bytes) -> str:
    """The traceback and the summary, without the statistics."""
    lines = [line for line in stderr.decode(errors="replace").splitlines() if not line.startswith("stat::")]
    start = next((at for at, line in enumerate(lines) if "Uncaught Python exception" in line), max(0, len(lines) - 25))
    return "\n".join(lines[start : start + 40])


def main() -> int:
    """Parse the arguments, run, print a line for each target."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="time for each target (default 30)")
    parser.add_argument("--seed", type=int, default=1, help="where random mutations begin, without atheris (default 1)")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"targets (default all): {', '.join(names())}")
    arguments = parser.parse_args()
    chosen = arguments.names or names()
    if unknown := set(chosen) - set(names()):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    CRASHES.mkdir(exist_ok=True)

    guided = importlib.util.find_spec("atheris") is not None
    workers = os.cpu_count() or 1 if guided else 1
    engine = "atheris" if guided else f"atheris is not installed: random mutations, seed {arguments.seed}"
    print(f"{len(chosen)} targets, {arguments.seconds} s each ({engine})", flush=True)
    found = 0
    with ThreadPoolExecutor(workers) as pool:
        for outcome in pool.map(
            lambda name: (
                with_atheris(name, arguments.seconds)
                if guided
                else with_mutations(name, arguments.seconds, arguments.seed)
            ),
            chosen,
        ):
            rate = outcome.executions / outcome.seconds if outcome.seconds else 0
            verdict = "FOUND" if outcome.finding else "ok"
            print(f"{outcome.name:24} {verdict:6} {outcome.executions:>10} inputs  {rate:>8.0f}/s", flush=True)
            if outcome.finding:
                found += 1
                print(outcome.finding, flush=True)
    if not found:
        # only what was found is kept
        for leftover in CRASHES.iterdir():
            leftover.unlink()
        CRASHES.rmdir()
    print(f"{found} of {len(chosen)} targets found something" if found else "nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

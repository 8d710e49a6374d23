"""`python -m bench.pay`: payments checked in a second on one core, beside others in the same run; and a call that is
paid for beside one that is free."""

from __future__ import annotations

import argparse
import os

from bench.pay import calls, verifying


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.pay", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: whether it works, not how fast it is")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="rounds (9; 1 with --quick)")
    options = parser.parse_args(argv)
    rounds = options.rounds or (1 if options.quick else 9)
    cores = os.sched_getaffinity(0)
    print(verifying.table(verifying.measure(rounds, 0.1 if options.quick else 1.0)))
    os.sched_setaffinity(0, cores)
    print("\nCalls between two daemons on a chain of our own, which asks, commits and settles for each that is paid:")
    print(calls.table(calls.measure(rounds, 5 if options.quick else 50)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

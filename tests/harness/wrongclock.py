"""Run a program whose clock is wrong: `python -m tests.harness.wrongclock SECONDS PROGRAM ARG…`. What only measures how
long something took goes right."""

from __future__ import annotations

import runpy
import sys
import time

_time, _time_ns = time.time, time.time_ns


def main() -> None:
    off_s = int(sys.argv[1])
    time.time = lambda: _time() + off_s
    time.time_ns = lambda: _time_ns() + off_s * 10**9
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()

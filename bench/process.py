"""Start to ready, and memory when nothing happens."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import psutil

from bench.figure import Figure, Group, Sample
from bench.jspair import SCRIPT, JsPair
from bench.pair import DaemonPair
from tests.harness.daemon import Daemon, Home
from tests.harness.js import JsPeer

START = Figure("start", "start to ready", "ms", more_is_better=False)
IDLE = Figure("idle", "memory idle (RSS, one peer connected)", "MB", more_is_better=False)


def _ours(pair: DaemonPair, quick: bool) -> Sample:
    home = Home()
    # an installed package comes with its bytecode, whatever the environment says of a checkout
    home.env.pop("PYTHONDONTWRITEBYTECODE", None)
    home.env["PYTHONPYCACHEPREFIX"] = str(home.directory / "bytecode")
    try:
        fresh = Daemon("fresh", home, start=False)
        # the first start makes a key and bytecode, and chooses a port; what users wait for is every later one
        fresh.start()
        fresh.stop()
        began = time.perf_counter()
        fresh.start()
        ready = time.perf_counter() - began
        fresh.stop()
    finally:
        home.remove()
    return {"start": ready * 1000, "idle": pair.b.rss() / 1e6}


def _js(pair: JsPair, quick: bool) -> Sample:
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        with JsPeer("fresh", Path(directory), SCRIPT):
            ready = time.perf_counter() - began
    return {"start": ready * 1000, "idle": psutil.Process(pair.b.process.popen.pid).memory_info().rss / 1e6}


GROUP = Group("process", (START, IDLE), _ours, _js)

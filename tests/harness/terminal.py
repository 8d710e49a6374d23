"""A terminal of our own, on which a command of the command line runs."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time

from tests.harness.daemon import Daemon
from tests.harness.process import DEADLINE_S


def on_a_terminal(daemon: Daemon, *args: str) -> tuple[int, bytes]:
    """How a command ended, and all that it wrote to its terminal, results and errors."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        daemon.argv(*args),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**daemon.home.env, "TERM": "xterm-256color"},
        cwd=daemon.home.directory,
        start_new_session=True,
    )
    os.close(follower)
    output = bytearray()
    deadline = time.monotonic() + DEADLINE_S
    try:
        while time.monotonic() < deadline:
            if select.select([leader], [], [], 0.2)[0]:
                try:
                    data = os.read(leader, 65_536)
                except OSError:  # the other end is closed
                    break
                if not data:
                    break
                output += data
            elif process.poll() is not None:
                break
    finally:
        os.close(leader)
        process.wait(DEADLINE_S)
    return process.returncode, bytes(output)

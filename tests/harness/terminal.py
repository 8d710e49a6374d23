"""A terminal of our own, on which a command of the command line runs, and what must never come to it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time

from tests.harness.daemon import Daemon
from tests.harness.process import DEADLINE_S

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\x9d52;c;AAAA\x9c\u202egnp.exe\u200b\r\x08\x00"


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


def shown(daemon: Daemon, *args: str) -> str:
    """All that a command writes to its terminal, however it ends."""
    _, output = on_a_terminal(daemon, *args)
    return output.decode(errors="surrogateescape")


def harmless(output: str, *, shown: str = "") -> None:
    """Only what is visible, tabs and line ends. Colours of our own would be allowed; there are none."""
    assert shown in output, output
    wrong = [c for c in output if (ord(c) < 0x20 and c not in "\r\n\t") or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u200b"]
    assert not wrong, (wrong, output)
    assert "\r" not in output.replace("\r\n", ""), "a lone carriage return"

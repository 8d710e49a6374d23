"""File descriptors: as many as the process may have, and a way to turn callers away when there is none left.

A connection that cannot be accepted stays in the kernel's queue, and a loop that waits for callers would spin on it.
One descriptor is kept for that moment: given up, it lets one caller in, who is turned away at once.
"""

from __future__ import annotations

import os
import resource
import socket
from typing import Final

MOST: Final = 1 << 16
"""Nothing here needs more, and some systems' hard limit is without end."""


def raise_limit() -> int:
    """Set the soft limit to the hard one. Returns what the process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            return soft  # a sandbox may forbid it
        return wanted
    return wanted if soft == resource.RLIM_INFINITY else soft


class Reserve:
    """One descriptor in hand."""

    def __init__(self) -> None:
        self._spare: int | None = None
        self._refill()

    def shed(self, listener: socket.socket) -> str | None:
        """Accept one caller on a descriptor that is not there, and turn it away. Returns its address, None where
        nobody was found or nothing could be done."""
        if self._spare is None:
            self._refill()
            return None
        os.close(self._spare)
        self._spare = None
        try:
            caller, address = listener.accept()
        except OSError:
            return None
        else:
            caller.close()
            return str(address[0])
        finally:
            self._refill()

    def close(self) -> None:
        """Give it up."""
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _refill(self) -> None:
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._spare = None

"""The interface of a source: one way of finding peers."""

from __future__ import annotations

from typing import Protocol

import trio

from nexusd_bootstrap.candidate import Candidate


class Source(Protocol):
    """One way of finding peers. It uses no network before `run`, and may be run again after it ended.

    When to raise, and when not: raise ValueError from the constructor for what a person configured wrongly. In `run`,
    whatever may get better by itself (no network yet, a timeout, one bad record) is handled inside, with a pause; an
    error that needs everything set up anew (a socket is gone, a thread died) is raised, and the cascade runs the source
    again after a while. Returning means that there is nothing more to find, and the source is left alone.
    """

    @property
    def name(self) -> str:
        """A short word for logs, `nexus peers` and `nexus status`."""
        ...

    async def run(
        self,
        found: trio.MemorySendChannel[Candidate],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Look for peers until cancelled, or until there is nothing more to find, and send each to `found`. Says
        `started` when it is looking. Sending waits while nobody takes candidates; it is right to wait, too."""
        ...

    def describe(self) -> str:
        """What it is doing, in a few words for a person. May be called at any time."""
        ...

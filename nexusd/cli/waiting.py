"""Telling whoever typed a call that it waits for a person's word on its payment, and what to type."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Final, Self

from nexusd.cli.session import current
from nexusd.cli.terminal import clean
from nexusd.client.errors import NexusError

FIRST_LOOK_S: Final = 0.5
"""Most calls have an answer by then, and ask nothing more of the daemon."""
LOOK_AGAIN_S: Final = 2.0
THREAD: Final = "approval-notice"


class ApprovalNotice:
    """In `with`, while nothing has come of a call that may cost something: looks for it among the payments that wait,
    and says so once. `came` ends that before the block does."""

    def __init__(self, purchase: str) -> None:
        self._purchase = purchase
        self._session = current()
        self._came = threading.Event()
        self._thread = threading.Thread(target=self._look, name=THREAD, daemon=True)

    def came(self) -> None:
        """Something came: nobody is waited for any more."""
        self._came.set()

    def _look(self) -> None:
        pause = FIRST_LOOK_S
        while not self._came.wait(pause):
            pause = LOOK_AGAIN_S
            try:
                waiting = self._session.call("pay.approvals").purchases
            except (NexusError, OSError):
                return  # the call itself tells what is wrong
            for one in waiting:
                if one.id == self._purchase and not self._came.is_set():
                    name = self._session.options.name
                    nexus = "nexus" if name is None else f"nexus --name {name}"
                    self._session.say(
                        clean(
                            f"{one.amount} {one.asset} wait for your word: {nexus} pay approve {one.id}"
                            f" (or {nexus} pay reject {one.id})"
                        )
                    )
                    return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.came()
        self._thread.join(timeout=1)

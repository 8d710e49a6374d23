"""How far a long command is: a bar on stderr, where a person looks."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from nexusd.cli.session import current
from nexusd.cli.terminal import clean

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE_S: Final = 0.3
"""What takes no longer needs no bar."""


class Bar:
    """Hold it in `with`. Without a terminal on stderr, or with --json, nothing is shown. `stopped` is what is said when
    a person stops it: what became of it, and how to go on."""

    def __init__(self, label: str, *, stopped: str = "") -> None:
        self._stopped = stopped
        self._label = clean(label)[:40]
        self._progress: Progress | None = None
        self._begun = time.monotonic()
        self._shown = False
        session = current()
        if session.options.json or not session.err.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Speed

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            Speed(),
            TimeRemainingColumn(),
            console=Console(file=session.err),
            transient=True,
        )
        self._task = self._progress.add_task(self._label, total=None)

    def show(self, done: int, total: int | None = None, *, label: str | None = None) -> None:
        """`done` bytes of `total`; None leaves what was said before."""
        if self._progress is None:
            return
        if not self._shown and time.monotonic() - self._begun > PATIENCE_S:
            self._shown = True
            self._progress.start()
        text = self._label if label is None else clean(label)[:40]
        if total is None:
            self._progress.update(self._task, completed=done, description=text)
        else:
            self._progress.update(self._task, completed=done, total=max(total, done), description=text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None and self._shown:
            self._progress.stop()
        if kind is KeyboardInterrupt and self._stopped:
            current().say(f"\nstopped: {clean(self._stopped)}")

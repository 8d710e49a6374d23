"""A child process whose output is lines: read in a thread, waited for by condition, never by sleeping."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

DEADLINE_S = 20.0
"""How long a test waits for one thing. Far above what it takes: two cores are shared with the rest of the run."""


class LineProcess:
    """`lines` grows as the child writes; `expect` waits for one. Standard error goes to a file, shown on failure."""

    def __init__(
        self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.argv = list(argv)
        self.log = log
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._log_file = log.open("ab")
        self.popen = subprocess.Popen(
            self.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log_file,
            env=None if env is None else dict(env),
            cwd=cwd,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            bufsize=1,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"read {argv[0]}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def write(self, line: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def close_stdin(self) -> None:
        assert self.popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.popen.stdin.close()

    def wait_until(self, condition: Callable[[], Any], what: str, timeout: float = DEADLINE_S) -> Any:
        """The first true value of `condition`, which is looked at whenever a line has come."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (value := condition()):
                left = deadline - time.monotonic()
                if left <= 0 or (self._ended and not condition()):
                    why = "it ended" if self._ended else f"none in {timeout:g} s"
                    raise AssertionError(f"{what}: {why}\n{self.describe()}")
                self._changed.wait(min(left, 1.0))
            return value

    def expect(self, wanted: Callable[[str], Any], what: str, timeout: float = DEADLINE_S, since: int = 0) -> Any:
        """The first true value that `wanted` gives for a line, from line number `since` on."""
        seen = since

        def look() -> Any:
            nonlocal seen
            while seen < len(self.lines):
                seen += 1
                if value := wanted(self.lines[seen - 1]):
                    return value
            return None

        return self.wait_until(look, what, timeout)

    def json_lines(self) -> Iterator[Any]:
        """The lines so far, decoded."""
        for line in list(self.lines):
            yield json.loads(line)

    def wait(self, timeout: float = DEADLINE_S) -> int:
        """The exit code."""
        try:
            code = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s\n{self.describe()}") from None
        self._finish()
        return code

    def kill9(self) -> None:
        """End it, and everything it started, without a chance to clean up; if it ended already, put it away."""
        if self.popen.poll() is None:  # else its number may be another's by now
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(DEADLINE_S)
        self._finish()

    def interrupt(self, timeout: float = DEADLINE_S) -> int:
        """Ctrl-C. The exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGINT)
        return self.wait(timeout)

    def _finish(self) -> None:
        self._reader.join(5)
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._log_file.close()

    def describe(self, last: int = 30) -> str:
        """What a person needs to understand a failure."""
        stderr = self.log.read_text(errors="replace").splitlines()[-last:] if self.log.exists() else []
        out = "\n  ".join(self.lines[-last:])
        err = "\n  ".join(stderr)
        return f"{' '.join(self.argv)}\n stdout:\n  {out}\n stderr ({self.log}):\n  {err}"


def poll(condition: Callable[[], Any], what: str, timeout: float = DEADLINE_S, every: float = 0.05) -> Any:
    """The first true value of `condition`, asked again and again. For conditions of other processes, which cannot
    notify."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout:g} s")
        time.sleep(every)
    return value

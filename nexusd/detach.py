"""Start a daemon in the background and wait until it is ready.

The parent forks (before anything heavy is imported and while there is one thread), the child opens a new session,
forks again so that it can never gain a terminal, and puts its output into the log. A pipe carries one JSON line each
way the start can go: ready, or why not. A pipe that ends without a line means that the daemon died, whatever the cause.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from nexusd.ready import ReadyInfo

START_SECONDS: Final = 30.0
_MAX_REPORT_BYTES: Final = 1 << 20


class StartFailed(Exception):  # noqa: N818 - reads as what happened
    """The daemon did not become ready. The message says why, as the daemon itself put it."""


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line on the pipe."""

    pid: int = 0
    ready: ReadyInfo | None = None
    error: str = ""


class Reporter:
    """The daemon's end of the pipe. After the first report there is nothing more to say."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor: Final = descriptor
        self._open = True

    def began(self, pid: int) -> None:
        """Tell which process is starting, so that it can be stopped if it takes too long."""
        self._write(Report(pid=pid))

    def ready(self, info: ReadyInfo) -> None:
        self._write(Report(ready=info))
        self._close()

    def failed(self, error: str) -> None:
        self._write(Report(error=error))
        self._close()

    def _write(self, report: Report) -> None:
        if self._open:
            with suppress(OSError):  # nobody waits any more
                data = msgspec.json.encode(report) + b"\n"
                while data:
                    data = data[os.write(self.descriptor, data) :]

    def _close(self) -> None:
        if self._open:
            os.close(self.descriptor)
            self._open = False


def start(daemon: Callable[[Reporter], int], log_file: Path, *, timeout: float = START_SECONDS) -> ReadyInfo:
    """Run `daemon` in the background; returns once it reported ready. Raises StartFailed."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _become_daemon(daemon, Reporter(writer), log_file)
    os.close(writer)
    os.waitpid(child, 0)
    try:
        return _await(reader, log_file, time.monotonic() + timeout, timeout)
    finally:
        os.close(reader)


def _await(reader: int, log_file: Path, deadline: float, timeout: float) -> ReadyInfo:
    pid = 0
    buffer = b""
    while True:
        if not select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise StartFailed(f"The daemon was not ready within {timeout:.0f} s and was stopped: see {log_file}")
        data = os.read(reader, 65536)
        buffer += data
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            report = msgspec.json.decode(line, type=Report)
            pid = report.pid or pid
            if report.ready is not None:
                return report.ready
            if report.error:
                raise StartFailed(report.error)
        if not data or len(buffer) > _MAX_REPORT_BYTES:
            raise StartFailed(f"The daemon ended before it was ready: see {log_file}")


def _become_daemon(daemon: Callable[[Reporter], int], reporter: Reporter, log_file: Path) -> NoReturn:
    """Never returns and never raises: this is a fork, and the caller's stack belongs to the parent."""
    status = 1
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        # keep stray output: what C libraries and the interpreter itself print goes behind the log's own lines
        log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        # whatever else the caller had open is not ours to keep: somebody may wait for its end
        os.closerange(3, reporter.descriptor)
        os.closerange(reporter.descriptor + 1, os.sysconf("SC_OPEN_MAX"))
        os.chdir("/")
        reporter.began(os.getpid())
        status = daemon(reporter)
    except OSError as error:
        reporter.failed(f"The daemon could not be started: {error}")
    except BaseException:  # a bug: its traceback belongs into the log, not into the parent's stack
        import traceback

        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)

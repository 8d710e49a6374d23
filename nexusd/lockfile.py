"""One daemon a data directory: an flock on `<data_dir>/lock`, which the kernel releases however the process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LOCK_NAME: Final = "lock"


class AlreadyRunning(Exception):  # noqa: N818 - it is a state the user asked about, and reads as one
    """Another daemon holds this data directory. `pid` is None in the moment before it has written it."""

    def __init__(self, pid: int | None, data_dir: Path) -> None:
        who = f"as process {pid}" if pid else "as another process"
        super().__init__(
            f"A daemon already runs on {data_dir}, {who}: stop it with `nexus --data-dir {data_dir} stop`, "
            "or start another one with --name"
        )
        self.pid = pid
        self.data_dir = data_dir


@contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for the length of a `with`. Raises AlreadyRunning, OSError.

    The file stays: unlinking it would let two daemons lock two files of one name.
    """
    path = data_dir / LOCK_NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(_pid_in(descriptor), data_dir) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holder(data_dir: Path) -> int | None:
    """Who holds a data directory by its own word, None once it let go. After kill -9 the word outlives the holder."""
    try:
        descriptor = os.open(data_dir / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _pid_in(descriptor)
    finally:
        os.close(descriptor)


def _pid_in(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None

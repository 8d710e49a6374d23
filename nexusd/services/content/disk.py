"""Room on the disk: some of it stays free for what must not fail, which is messages."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nexusd.store.errors import StorageFullError
from nexusd_protocols import limits

RESERVE_BYTES: Final = 256 * limits.MIB
"""What content leaves free: room for a year of a busy inbox."""
RESERVE_SHARE: Final = 20
"""Or a twentieth of the file system, if that is less."""


class Disk:
    """The file system that a directory is on. Content goes into the `log` first; `pending` bytes of that are still to
    be copied into the database."""

    def __init__(self, directory: Path, log: Path, pending: Callable[[], int]) -> None:
        self._directory = directory
        self._log = log
        self._pending = pending

    def free(self) -> int:
        """Bytes that this user may still write."""
        found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize

    @property
    def reserve(self) -> int:
        """Bytes that content leaves free."""
        found = os.statvfs(self._directory)
        return min(RESERVE_BYTES, found.f_blocks * found.f_frsize // RESERVE_SHARE)

    def check(self, size: int, *, inside: int = 0) -> None:
        """Raises StorageFullError if so many bytes of content would leave too little. The log grows by them where it is
        not written anew; the database by them and what is pending, of which `inside` bytes find room in it."""
        pending = self._pending()
        try:
            reused = max(0, self._log.stat().st_size - pending)
        except FileNotFoundError:
            reused = 0
        growth = max(0, size - reused) + max(0, size + pending - inside)
        if self.free() - growth < self.reserve:
            raise StorageFullError(
                f"The disk is full: content leaves {self.reserve // limits.KIB} KiB of it free for everything else"
            )

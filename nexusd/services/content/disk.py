"""Room on the disk: some of it stays free for what must not fail, which is messages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from nexusd.store.errors import StorageFullError
from nexusd_protocols import limits

RESERVE_BYTES: Final = 256 * limits.MIB
"""What content leaves free: room for a year of a busy inbox."""
RESERVE_SHARE: Final = 20
"""Or a twentieth of the file system, if that is less."""


class Disk:
    """The file system that a directory is on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def free(self) -> int:
        """Bytes that this user may still write."""
        found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize

    @property
    def reserve(self) -> int:
        """Bytes that content leaves free."""
        found = os.statvfs(self._directory)
        return min(RESERVE_BYTES, found.f_blocks * found.f_frsize // RESERVE_SHARE)

    def check(self, size: int) -> None:
        """Raises StorageFullError if so many bytes of content would leave too little."""
        if self.free() - size < self.reserve:
            raise StorageFullError(
                f"The disk is full: content leaves {self.reserve // limits.MIB} MiB of it free for everything else"
            )

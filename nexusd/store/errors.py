"""What the store could not do. The messages are fit for a person; SQLite's own words follow as the cause."""

from __future__ import annotations


class StorageError(OSError):
    """The disk, or the database on it, failed. Whatever raised this was not stored and must not be acknowledged."""


class StorageFullError(StorageError):
    """There is no room on the disk. Nothing of the write is stored; it may be tried again once there is room."""


class QuotaExceededError(StorageError):
    """A budget is full. Nothing of the write is stored."""


class StorageFailedError(StorageError):
    """The disk lost track of what it holds (a failed fsync, a damaged page). No write is taken until a restart, whose
    recovery finds out; reading goes on."""


class StorageClosedError(StorageError):
    """The store is closed, or closing."""


class StorageCorruptError(StorageError):
    """The file is not a sound nexusd store."""


class NewerStoreError(StorageError):
    """A newer nexusd made this store. It is left as it was."""

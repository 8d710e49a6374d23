"""How far an append-only table has been committed, for those who wait for more."""

from __future__ import annotations

import apsw
import trio

from nexusd.store.errors import StorageClosedError


class Watermark:
    """The highest key that was ever committed to one AUTOINCREMENT table.

    The writer thread measures it inside each group, and moves it in Trio once the group is on disk. All waiters share
    one event, so that waiting costs the writer nothing, however many wait.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._value = 0
        self._moved = trio.Event()
        self._closed = False

    def measure(self, connection: apsw.Connection) -> int:
        """The value in the connection's present transaction. Runs in the writer thread."""
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (self._table,)).get
        return int(row or 0)

    def move(self, value: int) -> None:
        """Wake those who wait, if the value grew. Runs in Trio, after the commit."""
        if value > self._value:
            self._value = value
            self._wake()

    def close(self) -> None:
        """Wake those who wait: nothing more will come."""
        self._closed = True
        self._wake()

    @property
    def value(self) -> int:
        return self._value

    async def wait_beyond(self, value: int) -> int:
        """Wait until the watermark is higher than `value`, and return it. Raises StorageClosedError."""
        while self._value <= value:
            if self._closed:
                raise StorageClosedError("The store is closed")
            await self._moved.wait()
        return self._value

    def _wake(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

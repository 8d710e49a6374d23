"""What migrations do that SQL cannot say. A step never changes once it was released: it belongs to the version that it
makes, as the SQL of its number does."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import apsw

_SPAN_ITEMS: Final = 512


def fill_spans(connection: apsw.Connection) -> None:
    """Version 4: sums over what every log holds, one for each 512 messages. Memory is that of one span."""
    logs: Any = connection.execute("SELECT id FROM rooms").fetchall()
    for (log,) in logs:
        items = connection.execute(
            "SELECT timestamp, digest FROM room_items WHERE log = ? ORDER BY timestamp, digest", (log,)
        )
        start: tuple[int, bytes] | None = (0, b"")  # nothing is filed before the first span
        while part := list(islice(items, _SPAN_ITEMS)):
            total = sum(int.from_bytes(digest, "big") for _, digest in part) % (1 << 256)
            connection.execute(
                "INSERT INTO room_spans (log, timestamp, digest, count, sum) VALUES (?, ?, ?, ?, ?)",
                (log, *(start or part[0]), len(part), total.to_bytes(32, "big")),
            )
            start = None


MAIN_STEPS: Final[dict[int, Callable[[apsw.Connection], None]]] = {4: fill_spans}

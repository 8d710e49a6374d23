"""The durable event log, for those who write it: one row for each thing that a subscriber must not miss, in the
transaction of the thing itself."""

from __future__ import annotations

from typing import Literal

import apsw

from nexusd_protocols.identity import AgentId

StoredKind = Literal["room", "dm", "invoke"]
"""The kinds of event that are stored; presence and peer events are live only."""


def add_event(
    connection: apsw.Connection,
    *,
    agent: AgentId,
    kind: StoredKind,
    type_: str,
    at: int,
    room: str = "",
    peer: str = "",
    ref: int = 0,
) -> int:
    """Write an event and return its cursor. `ref` is the position of its row in the table of its kind, `room` and
    `peer` are what subscribers filter by. Call it inside `Database.write`."""
    connection.execute(
        "INSERT INTO events (agent, kind, type, at, room, peer, ref) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (agent, kind, type_, at, room, peer, ref),
    )
    return int(connection.last_insert_rowid())

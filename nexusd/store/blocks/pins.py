"""Reasons to keep content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import apsw

from nexusd.store.paging import Page
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.retention import RetentionClass
from nexusd_protocols.identity import AgentId


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Keeps a block and all below it until `expires_at` (0: for ever), whether or not they are here yet. `owner` is
    'user', 'room:<id>', 'history:<id>', 'cache' or 'directory'; `size`, in bytes, is what its maker says that all of it
    takes. `position` is given by the store."""

    agent: AgentId
    owner: str
    cid: Cid
    retention: RetentionClass
    name: str = ""
    size: int = 0
    created_at: int = 0
    expires_at: int = 0
    position: int = 0


PIN_SELECT: Final = (
    "SELECT position, agent, owner, codec, digest, version, retention, name, size, created_at, expires_at FROM pins"
)
_PUT: Final = (
    "INSERT INTO pins (agent, owner, digest, codec, version, retention, name, size, created_at, expires_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (digest, agent, owner, codec, version) DO UPDATE SET"
    " retention = excluded.retention, name = excluded.name, size = excluded.size, expires_at = excluded.expires_at"
)


def pin_row(
    position: int,
    agent: str,
    owner: str,
    codec: int,
    digest: bytes,
    version: int,
    retention: RetentionClass,
    name: str,
    size: int,
    created_at: int,
    expires_at: int,
) -> Pin:
    """A pin from the columns of PIN_SELECT."""
    return Pin(
        position=position,
        agent=AgentId(agent),
        owner=owner,
        cid=Cid(codec, digest, version),
        retention=retention,
        name=name,
        size=size,
        created_at=created_at,
        expires_at=expires_at,
    )


_PAGE: Final = " AND position > ? ORDER BY position LIMIT ?"
ALL: Final = PIN_SELECT + " WHERE true" + _PAGE
OF_AGENT: Final = PIN_SELECT + " WHERE agent = ?" + _PAGE
OF_OWNER: Final = PIN_SELECT + " WHERE agent = ? AND owner = ?" + _PAGE
OF_ROOT: Final = PIN_SELECT + " WHERE digest = ? ORDER BY position LIMIT ?"


def read_pins(
    connection: apsw.Connection, agent: AgentId | None, owner: str | None, after: int, limit: int
) -> Page[Pin]:
    """Pins behind a position: all, an agent's, or those of one of an agent's owners."""
    if limit < 1:
        raise ValueError("a page has at least one row")
    query: str = ALL
    bindings: tuple[str, ...] = ()
    if agent is not None and owner is not None:
        query, bindings = OF_OWNER, (agent, owner)
    elif agent is not None:
        query, bindings = OF_AGENT, (agent,)
    elif owner is not None:
        raise ValueError("an owner is one of an agent's")
    rows: Any = connection.execute(query, (*bindings, after, limit + 1))
    pins = [pin_row(*columns) for columns in rows]
    return Page(pins[:limit], len(pins) > limit)


def put_pin(connection: apsw.Connection, pin: Pin, now: int) -> None:
    """Store a pin, in place of the last one of that owner and CID."""
    cid = pin.cid
    columns = (pin.agent, pin.owner, cid.digest, cid.codec, cid.version, pin.retention, pin.name, pin.size)
    connection.execute(_PUT, (*columns, pin.created_at or now, pin.expires_at))


def drop_pin(connection: apsw.Connection, agent: AgentId, owner: str, cid: Cid) -> bool:
    """Returns whether there was one."""
    connection.execute(
        "DELETE FROM pins WHERE digest = ? AND agent = ? AND owner = ? AND codec = ? AND version = ?",
        (cid.digest, agent, owner, cid.codec, cid.version),
    )
    return bool(connection.changes())

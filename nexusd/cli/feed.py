"""Event streams on the command line: events, room watch, dm watch, and paging through what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
from cyclopts import Parameter

from nexusd.cli.outcome import Stream
from nexusd.cli.session import current
from nexusd.cli.terminal import clean, clock, short
from nexusd.cli.usage import between
from nexusd_protocols import limits
from nexusd_protocols.rpc.schema import EventKind, NodeEvent

T = TypeVar("T")
Limit = Annotated[int, Parameter(validator=between(1, limits.PAGE_ROWS))]
"""How many a listing shows."""


class Page(Protocol):
    """What listings by position have in common."""

    @property
    def more(self) -> bool: ...
    @property
    def first(self) -> int | None: ...
    @property
    def last(self) -> int | None: ...


def watch(
    sentence: str,
    *,
    text: Callable[[NodeEvent], str],
    kinds: Sequence[EventKind] | None = None,
    room: str | None = None,
    peer: str | None = None,
    cursor: int | None = None,
) -> Stream[NodeEvent]:
    """Events until the user stops. The client reconnects by itself and continues from where it was."""
    session = current()
    events: Iterator[NodeEvent] = session.nexus.events(
        kinds=list(kinds) if kinds else None, room=room, peer=peer, cursor=cursor
    )
    session.say(f"{sentence}; Ctrl-C ends it")
    return Stream(events, text, open_ended=True)


def plain(event: NodeEvent) -> str:
    """A line for any event: time, what happened, and its plain fields."""
    fields = event.data if isinstance(event.data, dict) else {}
    shown = " ".join(f"{clean(str(key))}={_field(key, value)}" for key, value in fields.items() if _simple(value))
    return f"{clock(event.at)} {clean(event.kind)} {clean(event.type)} {shown}".rstrip() + "\n"


def typed(data: Any, kind: type[T]) -> T:
    """The data of an event as the schema's struct."""
    return msgspec.convert(data, kind)


def continuation(page: Page, *, backward: bool) -> str:
    """How to read on, for people."""
    if not page.more:
        return ""
    return f"more: --before {page.first}" if backward else f"more: --after {page.last}"


def _simple(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) and value != ""


def _field(key: str, value: Any) -> str:
    if key in ("peerId", "peer", "agent", "sender") and isinstance(value, str):
        return short(value)
    return clean(str(value))

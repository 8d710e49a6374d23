"""events: everything that happens, as it happens."""

from __future__ import annotations

from typing import Annotated, cast, get_args

from cyclopts import Parameter

from nexusd.cli import feed, messages, room_log
from nexusd.cli.outcome import Stream
from nexusd.cli.terminal import clean
from nexusd.cli.usage import UsageError
from nexusd_protocols.rpc.schema import EventKind, NodeEvent


def events(
    *,
    kinds: Annotated[str | None, Parameter(metavar="LIST")] = None,
    room: str | None = None,
    peer: str | None = None,
    cursor: int | None = None,
) -> Stream[NodeEvent]:
    """Print what happens, as it happens.

    Parameters
    ----------
    kinds
        Only these: peer, room, presence, dm, invoke, content, with commas between.
    room
        Only events of this room.
    peer
        Only events of this peer.
    cursor
        Continue behind this event, missing nothing that is stored; 0 begins with the oldest.
    """
    known = get_args(EventKind)
    wanted = (kinds or "").replace(",", " ").split()
    for word in wanted:
        if word not in known:
            raise UsageError(f"there are no {word} events", f"the kinds are {', '.join(known)}")
    return feed.watch(
        "watching", kinds=cast("list[EventKind]", wanted) or None, room=room, peer=peer, cursor=cursor, text=_text
    )


def _text(event: NodeEvent) -> str:
    if event.kind == "room" and event.type in room_log.SPOKEN:
        return f"[{clean(event.data['room'])}] {room_log.event_text(event)}"
    if event.kind == "dm" and event.type == "message":
        return f"[dm] {messages.event_text(event)}"
    return feed.plain(event)

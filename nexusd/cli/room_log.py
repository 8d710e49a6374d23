"""room history, search, versions, edit, retract: what was said."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from cyclopts import Parameter

from nexusd.cli import feed, stdin, times
from nexusd.cli.outcome import Answer
from nexusd.cli.session import call
from nexusd.cli.terminal import block, clean, clock, who
from nexusd.cli.usage import UsageError
from nexusd_protocols import limits
from nexusd_protocols.rpc.schema import NodeEvent, RoomHistory, RoomMessage, RoomSent, RoomVersion, RoomVersions

Format = Literal["text/plain", "text/markdown", "application/json"]
SPOKEN: Final = ("message", "edited", "retracted")
"""Types of events that carry a message."""

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]


def history(
    room: str,
    /,
    *,
    limit: feed.Limit = 50,
    since: str | None = None,
    before: str | None = None,
    after: int | None = None,
    author: str | None = None,
    thread: str | None = None,
    ids: Flag = False,
) -> Answer[RoomHistory]:
    """What was said.

    Parameters
    ----------
    room
        A room, joined now or before.
    limit
        How many messages, 500 at most.
    since
        Only those of the last 90s, 2h or 7d; or from 2026-11-29 on, or 2026-11-29T08:30.
    before
        Only those before then; or a position, as the end of a page names it.
    after
        Only those after this position, the oldest first; 0 begins at the beginning.
    author
        Only those of this peer: its id, or the last 6 characters or more.
    thread
        Only those of this thread.
    ids
        Show the messages' ids too.
    """
    position = int(before) if before is not None and before.isdecimal() else None
    page = call(
        "room.history",
        room=room,
        limit=limit,
        after=after,
        before=position,
        since=None if since is None else times.moment("--since", since),
        until=None if before is None or position is not None else times.moment("--before", before),
        author=author,
        thread_id=thread,
    )
    narrowed = any(given is not None for given in (since, before, after, author, thread))
    aside = feed.continuation(page, backward=after is None)
    return Answer(page, lambda found: _history(found, ids) or _silence(room, narrowed=narrowed), aside)


def search(
    room: str, /, *words: str, limit: feed.Limit = 50, before: int | None = None, ids: Flag = False
) -> Answer[RoomHistory]:
    """Search.

    Parameters
    ----------
    room
        A room, joined now or before.
    words
        All of them are in a message that is found; "words in quotes" together, word* is a beginning.
    limit
        How many messages, 500 at most.
    before
        Only those before this position.
    ids
        Show the messages' ids too.
    """
    if not "".join(words).strip():
        raise UsageError("there are no words to find", "write them behind the room: `nexus room search ROOM WORD…`")
    page = call("room.search", room=room, query=" ".join(words), limit=limit, before=before)
    return Answer(
        page,
        lambda found: _history(found, ids) or "nothing found",
        feed.continuation(page, backward=True),
    )


def versions(room: str, message: str, /) -> Answer[RoomVersions]:
    """Versions.

    Parameters
    ----------
    room
        A room, joined now or before.
    message
        The message's id; `nexus room history --ids` shows it.
    """
    found = call("room.versions", room=room, message_id=message)
    return Answer(found, lambda page: "\n".join(map(_version, page.versions)))


def edit(
    room: str,
    message: str,
    /,
    *text: str,
    format: Format = "text/plain",  # noqa: A002 - the flag's name
    anyway: Flag = False,
) -> Answer[RoomSent]:
    """Edit.

    Parameters
    ----------
    room
        A room that was joined.
    message
        The id of a message of this agent's; `nexus room send` says it, and `nexus room history --ids`.
    text
        What it says from now on; without it, or with -, it is read from standard input.
    format
        What the text is.
    anyway
        Send it though it holds what looks like key material.
    """
    sent = call(
        "room.edit",
        room=room,
        message_id=message,
        content=stdin.text(text, limit=limits.ROOM_MESSAGE_BYTES),
        format=format,
        anyway=anyway,
    )
    return Answer(sent, sent_text)


def retract(room: str, message: str, /) -> Answer[RoomSent]:
    """Retract. Whoever has read it has read it, and members keep what was signed; it is shown no more.

    Parameters
    ----------
    room
        A room that was joined.
    message
        The id of a message of this agent's.
    """
    return Answer(call("room.retract", room=room, message_id=message), sent_text)


def event_text(event: NodeEvent) -> str:
    """A line for an event of a room."""
    if event.type in SPOKEN:
        return message_text(feed.typed(event.data, RoomMessage)) + "\n"
    return feed.plain(event)


def message_text(message: RoomMessage, ids: bool = False) -> str:
    """A message; further lines of it are indented so that none can pass for a message of its own."""
    marks = [] if message.format == "text/plain" else [message.format]
    if message.target:
        marks.append(f"{'retracts' if message.retracted else 'edits'} {message.target}")
    elif message.retracted:
        marks.append("retracted")
    elif message.edited_at is not None:
        marks.append("edited")
    mark = f" [{clean(', '.join(marks))}]" if marks else ""
    name = f"{clean(message.message_id)} " if ids else ""
    head = f"{clock(message.timestamp)} {name}{who(message.sender, message.sender_name)}{mark}: "
    return (head + block(message.content, "    ") + _references(message)).rstrip()


def sent_text(sent: RoomSent) -> str:
    """How far something came."""
    reached = "nobody is there yet" if sent.peers == 0 else f"handed to {sent.peers} peer{'s' * (sent.peers != 1)}"
    return f"sent {clean(sent.message_id)}, {reached}"


def _references(message: RoomMessage) -> str:
    return "".join(f"\n    -> {clean(reference)}" for reference in message.references if not message.retracted)


def _history(page: RoomHistory, ids: bool) -> str:
    return "\n".join(message_text(message, ids) for message in page.messages)


def _silence(room: str, *, narrowed: bool) -> str:
    if narrowed:
        return "nothing that was said fits"
    return f"nothing was said yet that has come here: `nexus room sync {clean(room)}` asks the members"


def _version(version: RoomVersion) -> str:
    did = {"chat": "said", "edit": "edited it to", "retract": "took it back"}[version.kind]
    head = f"{clock(version.timestamp)} {who(version.sender, version.sender_name)} {did}"
    return head if version.kind == "retract" else f"{head}: {block(version.content, '    ')}"

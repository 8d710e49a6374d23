"""room: public conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from nexusd.cli import feed, room_log, room_proof, stdin, summaries
from nexusd.cli.options import FilePath
from nexusd.cli.outcome import Answer, Stream
from nexusd.cli.session import call
from nexusd.cli.terminal import ago, clean, clock, counted, pairs, short, size, table
from nexusd_protocols import limits
from nexusd_protocols.content.retention import RetentionClass
from nexusd_protocols.rpc.schema import (
    Done,
    NodeEvent,
    Room,
    RoomMember,
    RoomMembers,
    RoomSent,
    RoomsList,
    RoomsStats,
    RoomStats,
)

app = App(name="room", help="Public rooms: join, say, read, watch.", help_format="plaintext")

Format = Literal["text/plain", "text/markdown", "application/json"]
Many = Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)]


@app.command(help=summaries.of("room.create", 'nexus room create lab --description "our lab" --retention retained'))
def create(room: str, /, *, description: str = "", retention: RetentionClass = "archival") -> Answer[Room]:
    """Create.

    Parameters
    ----------
    room
        Its name: 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit. Whoever knows it can join.
    description
        What it is for; everybody can read it.
    retention
        How long this daemon keeps what is said: 1 hour, 1 day, 7 days, 30 days, for ever.
    """
    made = call("room.create", room=room, description=description, retention=retention)
    return Answer(made, lambda room: f"created {clean(room.room)}")


@app.command(help=summaries.of("room.join", "nexus room join general"))
def join(room: str, /) -> Answer[Room]:
    """Join.

    Parameters
    ----------
    room
        Its name: 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit. Whoever knows it can join.
    """
    return Answer(call("room.join", room=room), lambda joined: f"joined {clean(joined.room)}")


@app.command(help=summaries.of("room.leave", "nexus room leave general"))
def leave(room: str, /) -> Answer[Done]:
    """Leave.

    Parameters
    ----------
    room
        A room that was joined.
    """
    left = call("room.leave", room=room)
    name = clean(room)
    hint = f"what was said stays here: `nexus room history {name}`; `nexus room join {name}` comes back"
    return Answer(left, lambda _: f"left {name}", aside=hint)


@app.command(help=summaries.of("room.mirror", "nexus room mirror lab --class mirrored"))
def mirror(
    room: str,
    /,
    *,
    retention: Annotated[RetentionClass, Parameter(name="--class")] = "mirrored",
    off: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> Answer[Room]:
    """Mirror.

    Parameters
    ----------
    room
        A room; of one that was joined there is a copy, and only the class changes.
    retention
        How long what is said is kept: 1 hour, 1 day, 7 days, 30 days, for ever.
    off
        Stop; what was kept stays until its time.
    """
    found = call("room.mirror", room=room, retention=retention, off=off)
    name = clean(found.room)
    if off:
        hint = f"what was kept stays until its time: `nexus room history {name}`"
    else:
        hint = f"`nexus room history {name}` reads it; `nexus room mirror {name} --off` ends it"
    return Answer(found, lambda room: _mirrored(room, off=off), aside=hint)


@app.command(name="list", help=summaries.of("room.list", "nexus room list"))
def list_() -> Answer[RoomsList]:
    return Answer(call("room.list"), _rooms)


@app.command(help=summaries.of("room.send", 'nexus room send general "hello"'))
def send(
    room: str,
    /,
    *text: str,
    format: Format = "text/plain",  # noqa: A002 - the flag's name
    reply_to: str | None = None,
    thread: str | None = None,
    reference: Many = (),
    attach: Annotated[tuple[FilePath, ...], Parameter(negative=(), show_default=False)] = (),
    anyway: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> Answer[RoomSent]:
    """Say something.

    Parameters
    ----------
    room
        A room that was joined.
    text
        What to say; without it, or with -, it is read from standard input.
    format
        What the text is.
    reply_to
        Id of the message that this answers.
    thread
        Id of the thread within the room.
    reference
        Id of a message, or CID, referred to; repeatable.
    attach
        A file or directory to put and refer to by its CID; repeatable. Without a text its name is what is said.
    anyway
        Send it though it holds what looks like key material.
    """
    # what cannot be sent is refused before anything is put
    content = " ".join(Path(path).name for path in attach) if attach and not text else None
    content = stdin.text(text, limit=limits.ROOM_MESSAGE_BYTES) if content is None else content
    sent = call(
        "room.send",
        room=room,
        content=content,
        format=format,
        reply_to=reply_to,
        thread_id=thread,
        references=[*reference, *map(_put, attach)],
        anyway=anyway,
    )
    return Answer(sent, room_log.sent_text)


app.command(room_log.edit, help=summaries.of("room.edit", 'nexus room edit general 0198… "hello, all"'))
app.command(room_log.retract, help=summaries.of("room.retract", "nexus room retract general 0198…"))
app.command(room_log.history, help=summaries.of("room.history", "nexus room history general --since 1d"))
app.command(room_log.search, help=summaries.of("room.search", "nexus room search general budget"))
app.command(room_log.versions, help=summaries.of("room.versions", "nexus room versions general 0198…"))
app.command(room_proof.sync, help=summaries.of("room.sync", "nexus room sync general"))
app.command(room_proof.verify, help=summaries.of("room.verify", "nexus room verify general"))


@app.command(help=summaries.of("room.members", "nexus room members general"))
def members(room: str, /) -> Answer[RoomMembers]:
    """Members.

    Parameters
    ----------
    room
        A room that was joined.
    """
    return Answer(call("room.members", room=room), lambda found: _members(found.members))


@app.command(help=summaries.of("room.stats", "nexus room stats general"))
def stats(room: str | None = None, /) -> Answer[RoomsStats]:
    """Stats.

    Parameters
    ----------
    room
        A room that was joined; without it, all of them.
    """
    return Answer(call("room.stats", room=room), lambda found: _stats(found.rooms))


@app.command
def watch(room: str, /, *, cursor: int | None = None) -> Stream[NodeEvent]:
    """Print messages as they come.

    Example: nexus room watch general

    Parameters
    ----------
    room
        A room that was joined.
    cursor
        Continue behind this event, missing nothing; 0 begins with the oldest.
    """
    call("room.members", room=room)  # refuses, by name, a room that was not joined
    return feed.watch(f"watching {clean(room)}", kinds=["room"], room=room, cursor=cursor, text=room_log.event_text)


def _put(path: str) -> str:
    """Put a file, and return its CID."""
    from nexusd.cli import content

    return content.put(path).data.cid


def _mirrored(room: Room, *, off: bool) -> str:
    name = clean(room.room)
    if off:
        return f"mirrors {name} no more"
    if room.mirror:
        return f"keeps a copy of {name} ({room.retention})"
    return f"this daemon is in {name} and keeps a copy already ({room.retention} from now on); it stays when you leave"


def _rooms(found: RoomsList) -> str:
    rows = [
        [
            room.room,
            str(room.messages),
            str(room.members_online),
            "mirror" if room.mirror else clock(room.joined_at),
            room.retention,
            room.description,
        ]
        for room in found.rooms
    ]
    return table(
        ["ROOM", "MESSAGES", "ONLINE", "JOINED", "KEPT", "ABOUT"],
        rows,
        empty="no rooms; join one with `nexus room join NAME`",
    )


def _stats(rooms: list[RoomStats]) -> str:
    return "\n\n".join(map(_one, rooms)) or "no rooms; join one with `nexus room join NAME`"


def _one(room: RoomStats) -> str:
    refused = f"{room.rejected} rejected, {room.ignored} ignored, {room.throttled} throttled"
    return pairs(
        [
            ("room", room.room),
            ("peers", f"{room.peers} subscribed, {room.mesh} in the mesh"),
            ("received", _received(room)),
            ("refused", refused),
            ("sent", f"{room.published} of our own, {_copies(room.forwarded)} of all, {size(room.bytes_sent)}"),
            ("dropped", f"{_copies(room.dropped)} for slow peers"),
            ("offers", f"{room.offers_received} received (IHAVE), {room.requests_sent} taken up (IWANT)"),
            ("", f"{room.offers_sent} made, {room.requests_answered} taken up"),
            ("broken", counted(room.promises_broken, "promise")),
        ]
    )


def _received(room: RoomStats) -> str:
    what = f"{counted(room.delivered, 'message')}, {counted(room.duplicates, 'duplicate')}"
    return f"{what}, {size(room.bytes_received)}"


def _copies(count: int) -> str:
    return counted(count, "copy", "copies")


def _members(members: list[RoomMember]) -> str:
    rows = [
        [
            short(member.agent),
            member.name or "",
            member.agent_type or "",
            member.status,
            ", ".join(member.capabilities),
            ago(member.last_seen),
        ]
        for member in members
    ]
    return table(["PEER", "NAME", "TYPE", "STATUS", "CAPABILITIES", "SEEN"], rows, empty="nobody else is here")

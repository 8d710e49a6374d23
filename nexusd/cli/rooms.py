"""room: public conversations."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from nexusd.cli import feed, stdin, summaries
from nexusd.cli.outcome import Answer, Stream
from nexusd.cli.session import call
from nexusd.cli.terminal import ago, block, clean, clock, pairs, short, size, table, who
from nexusd_protocols import limits
from nexusd_protocols.rpc.schema import (
    Done,
    NodeEvent,
    Room,
    RoomHistory,
    RoomMember,
    RoomMembers,
    RoomMessage,
    RoomSent,
    RoomsList,
    RoomsStats,
    RoomStats,
)

app = App(name="room", help="Public rooms: join, say, read, watch.", help_format="plaintext")

Format = Literal["text/plain", "text/markdown", "application/json"]
Many = Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)]


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
    return Answer(call("room.leave", room=room), lambda _: f"left {clean(room)}")


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
        Id of a message referred to; repeatable.
    """
    sent = call(
        "room.send",
        room=room,
        content=stdin.text(text, limit=limits.ROOM_MESSAGE_BYTES),
        format=format,
        reply_to=reply_to,
        thread_id=thread,
        references=list(reference),
    )
    return Answer(sent, _sent)


@app.command(help=summaries.of("room.history", "nexus room history general --limit 20"))
def history(
    room: str, /, *, limit: int = 50, before: int | None = None, after: int | None = None
) -> Answer[RoomHistory]:
    """What was said.

    Parameters
    ----------
    room
        A room, joined now or before.
    limit
        How many messages, 500 at most.
    before
        Only those before this position, newest last.
    after
        Only those after this position.
    """
    page = call("room.history", room=room, limit=limit, before=before, after=after)
    return Answer(page, _history, feed.continuation(page, backward=after is None))


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
    return feed.watch(f"watching {clean(room)}", kinds=["room"], room=room, cursor=cursor, text=event_text)


def event_text(event: NodeEvent) -> str:
    """A line for an event of a room."""
    if event.type == "message":
        return message_text(feed.typed(event.data, RoomMessage)) + "\n"
    return feed.plain(event)


def message_text(message: RoomMessage) -> str:
    """A message; further lines of it are indented so that none can pass for a message of its own."""
    mark = "" if message.format == "text/plain" else f" [{clean(message.format)}]"
    head = f"{clock(message.received_at)} {who(message.sender, message.sender_name)}{mark}: "
    return head + block(message.content, "    ")


def _sent(sent: RoomSent) -> str:
    reached = "nobody is there yet" if sent.peers == 0 else f"handed to {sent.peers} peer{'s' * (sent.peers != 1)}"
    return f"sent {clean(sent.message_id)}, {reached}"


def _rooms(found: RoomsList) -> str:
    rows = [[room.room, str(room.messages), str(room.members_online), clock(room.joined_at)] for room in found.rooms]
    return table(["ROOM", "MESSAGES", "ONLINE", "JOINED"], rows, empty="no rooms; join one with `nexus room join NAME`")


def _history(page: RoomHistory) -> str:
    return "\n".join(message_text(message) for message in page.messages) or "nothing was said yet"


def _stats(rooms: list[RoomStats]) -> str:
    return "\n\n".join(map(_one, rooms)) or "no rooms; join one with `nexus room join NAME`"


def _one(room: RoomStats) -> str:
    refused = f"{room.rejected} rejected, {room.ignored} ignored, {room.throttled} throttled"
    return pairs(
        [
            ("room", room.room),
            ("peers", f"{room.peers} subscribed, {room.mesh} in the mesh"),
            ("received", f"{room.delivered} messages, {room.duplicates} duplicates, {size(room.bytes_received)}"),
            ("refused", refused),
            ("sent", f"{room.published} of our own, {room.forwarded} copies of all, {size(room.bytes_sent)}"),
            ("dropped", f"{room.dropped} copies for slow peers"),
            ("offers", f"{room.offers_received} received (IHAVE), {room.requests_sent} taken up (IWANT)"),
            ("", f"{room.offers_sent} made, {room.requests_answered} taken up"),
            ("broken", f"{room.promises_broken} promises"),
        ]
    )


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

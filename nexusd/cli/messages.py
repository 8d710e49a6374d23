"""dm: direct messages."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from nexusd.cli import feed, stdin, summaries
from nexusd.cli.outcome import Answer, Stream
from nexusd.cli.session import call
from nexusd.cli.terminal import block, clean, clock, short, who
from nexusd_protocols import limits
from nexusd_protocols.rpc.schema import DirectMessage, DmList, DmSent, NodeEvent

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]

app = App(name="dm", help="Direct messages: send, read, watch.", help_format="plaintext")

Format = Literal["text/plain", "text/markdown", "application/json"]


@app.command(help=summaries.of("dm.send", 'nexus dm send 9fKq2LmX "just us"'))
def send(
    peer: str,
    /,
    *text: str,
    format: Format = "text/plain",  # noqa: A002 - the flag's name
    anyway: Flag = False,
) -> Answer[DmSent]:
    """Send.

    Parameters
    ----------
    peer
        Its id, or the last 6 characters or more.
    text
        What to say; without it, or with -, it is read from standard input.
    format
        What the text is.
    anyway
        Send it though it holds what looks like key material.
    """
    content = stdin.text(text, limit=limits.DM_CONTENT_BYTES)
    return Answer(call("dm.send", peer=peer, content=content, format=format, anyway=anyway), _sent)


@app.command(name="list", help=summaries.of("dm.list", "nexus dm list --peer 9fKq2LmX"))
def list_(
    *, peer: str | None = None, limit: feed.Limit = 50, before: int | None = None, after: int | None = None
) -> Answer[DmList]:
    """List.

    Parameters
    ----------
    peer
        Only the conversation with this peer.
    limit
        How many messages, 500 at most.
    before
        Only those before this position, newest last.
    after
        Only those after this position.
    """
    page = call("dm.list", peer=peer, limit=limit, before=before, after=after)
    return Answer(page, _page, feed.continuation(page, backward=after is None))


@app.command
def watch(*, peer: str | None = None, cursor: int | None = None) -> Stream[NodeEvent]:
    """Print direct messages as they come.

    Example: nexus dm watch

    Parameters
    ----------
    peer
        Only the conversation with this peer.
    cursor
        Continue behind this event, missing nothing; 0 begins with the oldest.
    """
    return feed.watch("watching direct messages", kinds=["dm"], peer=peer, cursor=cursor, text=event_text)


def event_text(event: NodeEvent) -> str:
    """A line for a direct message event."""
    if event.type == "message":
        return message_text(feed.typed(event.data, DirectMessage)) + "\n"
    return feed.plain(event)


def message_text(message: DirectMessage) -> str:
    """A message; further lines of it are indented so that none can pass for a message of its own."""
    if message.direction == "out":
        head = f"{clock(message.timestamp)} to {short(message.peer)} ({clean(message.status)}): "
    else:
        head = f"{clock(message.timestamp)} {who(message.sender, message.sender_name)}: "
    return head + block(message.content, "    ")


def _sent(sent: DmSent) -> str:
    if sent.status == "stored":
        return f"stored by {short(sent.peer)}"
    return f"sent, unconfirmed: {short(sent.peer)} took it, and its software does not say whether it was stored"


def _page(page: DmList) -> str:
    return "\n".join(message_text(message) for message in page.messages) or "no direct messages yet"

"""peers: who was seen, and who is refused."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from nexusd.cli import summaries, times
from nexusd.cli.outcome import Answer
from nexusd.cli.session import call
from nexusd.cli.terminal import SHORT, ago, clean, clock, duration, short, table
from nexusd.cli.usage import UsageError
from nexusd_protocols import limits
from nexusd_protocols.room.topics import parse_topic
from nexusd_protocols.rpc.schema import Done, Peer, PeersList

app = App(name="peers", help=summaries.of("peers.list", "nexus peers --connected"), help_format="plaintext")

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]


@app.default
@app.command(name="list", help=summaries.of("peers.list", "nexus peers list --full"))
def list_(
    *,
    connected: Flag = False,
    blocked: Flag = False,
    banned: Flag = False,
    scores: Flag = False,
    full: Flag = False,
) -> Answer[PeersList]:
    """Peers seen.

    Parameters
    ----------
    connected
        Only those connected now.
    blocked
        Only the blocked.
    banned
        Only those banned now: since when, until when, why.
    scores
        Only those connected now, by their conduct, the worst first; --json shows each part of a score.
    full
        Show whole peer ids and all addresses.
    """
    shown = _scores if scores else _bans if banned else _table
    found = call("peers.list", connected=connected, blocked=blocked, banned=banned, scores=scores)
    return Answer(found, lambda found: shown(found.peers, full))


@app.command(help=summaries.of("peers.block", 'nexus peers block 9fKq2LmX --reason "spam"'))
def block(peer: str, /, *, reason: str | None = None) -> Answer[Done]:
    """Block.

    Parameters
    ----------
    peer
        Its id, or the last 6 characters or more.
    reason
        Why; shown by `nexus peers --blocked`.
    """
    return Answer(call("peers.block", peer=peer, reason=reason), lambda _: f"blocked {clean(peer)}")


@app.command(help=summaries.of("peers.unblock", "nexus peers unblock 9fKq2LmX"))
def unblock(peer: str, /) -> Answer[Done]:
    """Unblock.

    Parameters
    ----------
    peer
        Its id, or the last 6 characters or more.
    """
    return Answer(call("peers.unblock", peer=peer), lambda _: f"unblocked {clean(peer)}")


@app.command(help=summaries.of("peers.ban", 'nexus peers ban 9fKq2LmX --for 2h --reason "too loud"'))
def ban(
    peer: str,
    /,
    *,
    length: Annotated[str, Parameter(name="--for", metavar="TIME")] = "1h",
    reason: str | None = None,
) -> Answer[Done]:
    """Ban.

    Parameters
    ----------
    peer
        Its id, or the last 6 characters or more.
    length
        How long: 90s, 10min, 2h, 7d.
    reason
        Why; shown by `nexus peers --banned`.
    """
    milliseconds = _milliseconds(length)
    answer = call("peers.ban", peer=peer, duration_ms=milliseconds, reason=reason)
    return Answer(answer, lambda _: f"banned {clean(peer)} for {duration(milliseconds)}")


@app.command(help=summaries.of("peers.unban", "nexus peers unban 9fKq2LmX"))
def unban(peer: str, /) -> Answer[Done]:
    """Unban.

    Parameters
    ----------
    peer
        Its id, or the last 6 characters or more.
    """
    return Answer(call("peers.unban", peer=peer), lambda _: f"unbanned {clean(peer)}")


def _milliseconds(text: str) -> int:
    found = times.length(text) or 0
    if not 1000 <= found <= limits.BAN_MS:
        raise UsageError(
            f"--for {text} is no time from 1s to {limits.BAN_MS // times.UNITS['d']}d",
            "write it as 90s, 10min, 2h or 7d",
        )
    return found


def _bans(peers: list[Peer], full: bool) -> str:
    rows = [
        [
            peer.peer_id if full else short(peer.peer_id),
            peer.display_name or "",
            peer.ban.reason,
            clock(peer.ban.since),
            clock(peer.ban.until),
            str(peer.ban.times),
            "a person" if peer.ban.by_hand else "the daemon",
        ]
        for peer in peers
        if peer.ban is not None
    ]
    header = ["PEER", "NAME", "REASON", "SINCE", "UNTIL", "TIMES", "BY"]
    shown = table(header, rows, empty="nobody is banned")
    if rows:
        shown += "\n\nA ban ends by itself; `nexus peers unban <peer>` ends it now."
    return shown


def _scores(peers: list[Peer], full: bool) -> str:
    rows = [
        [
            peer.peer_id if full else short(peer.peer_id),
            peer.display_name or "",
            "none" if peer.score.total is None else _points(peer.score.total),
            _points(peer.score.penalty),
            ", ".join(_where(each.topic) for each in peer.score.topics if each.in_mesh),
            peer.agent_version or "",
            _address(peer.addresses[0] if peer.addresses else "", full),
        ]
        for peer in peers
        if peer.score is not None
    ]
    header = ["PEER", "NAME", "SCORE", "OWES", "IN THE MESH OF", "VERSION", "ADDRESS"]
    shown = table(header, rows, empty="nobody is connected")
    if rows:
        shown += "\n\nSCORE below 0: in no mesh of ours. OWES 1000: banned; half of what is owed fades in ten minutes."
    return shown


def _points(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}"


def _where(topic: str) -> str:
    known = parse_topic(topic)
    return known.name if known is not None and known.kind == "room" else topic


def _table(peers: list[Peer], full: bool) -> str:
    rows = []
    for peer in peers:
        addresses = peer.addresses or [""]
        first = [
            peer.peer_id if full else short(peer.peer_id),
            peer.display_name or "",
            _state(peer),
            peer.source,
            "now" if peer.connected else ago(peer.last_seen),
            _address(addresses[0], full),
        ]
        rows.append(first)
        if full:
            rows += [["", "", "", "", "", address] for address in addresses[1:]]
    header = ["PEER", "NAME", "STATE", "FOUND BY", "SEEN", "ADDRESS"]
    shown = table(header, rows, empty="no peers yet; `nexus connect <multiaddr>` dials one by hand")
    if rows and not full:
        shown += (
            f"\n\nPEER is the end of the peer id ({SHORT} characters), enough for commands; --full shows all of it."
        )
    return shown


def _state(peer: Peer) -> str:
    if peer.blocked:
        return f"blocked: {peer.block_reason}" if peer.block_reason else "blocked"
    if peer.ban is not None:
        return f"banned until {clock(peer.ban.until)}: {peer.ban.reason}"
    state = "connected" if peer.connected else "away"
    if peer.connected and peer.direction:
        state += f" ({peer.direction})"
    return f"{state}, direct" if peer.direct else state


def _address(address: str, full: bool) -> str:
    return address if full else address.partition("/p2p/")[0]

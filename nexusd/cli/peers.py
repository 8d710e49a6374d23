"""peers: who was seen, and who is refused."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from nexusd.cli import summaries
from nexusd.cli.outcome import Answer
from nexusd.cli.session import call
from nexusd.cli.terminal import SHORT, ago, clean, short, table
from nexusd_protocols.rpc.schema import Done, Peer, PeersList

app = App(name="peers", help=summaries.of("peers.list", "nexus peers --connected"), help_format="plaintext")

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]


@app.default
def bare(*, connected: Flag = False, blocked: Flag = False, full: Flag = False) -> Answer[PeersList]:
    """Peers seen.

    Parameters
    ----------
    connected
        Only those connected now.
    blocked
        Only the blocked.
    full
        Show whole peer ids and all addresses.
    """
    return Answer(call("peers.list", connected=connected, blocked=blocked), lambda found: _table(found.peers, full))


@app.command(name="list", help=summaries.of("peers.list", "nexus peers list --full"))
def list_(*, connected: Flag = False, blocked: Flag = False, full: Flag = False) -> Answer[PeersList]:
    """Peers seen.

    Parameters
    ----------
    connected
        Only those connected now.
    blocked
        Only the blocked.
    full
        Show whole peer ids and all addresses.
    """
    return bare(connected=connected, blocked=blocked, full=full)


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
    return (
        f"connected ({peer.direction})"
        if peer.connected and peer.direction
        else ("connected" if peer.connected else "away")
    )


def _address(address: str, full: bool) -> str:
    return address if full else address.partition("/p2p/")[0]

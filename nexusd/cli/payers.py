"""pay: how far those who pay here are trusted, who took a payment back, and what was used."""

from __future__ import annotations

from nexusd.cli.outcome import Answer
from nexusd.cli.session import call
from nexusd.cli.terminal import clock, counted, pairs, short, size, table
from nexusd.cli.times import moment
from nexusd_protocols.rpc.schema import UNIT_WORDS, PayCleared, PayTrust, PayUsage, UsageView


def trust(peer: str | None = None, /) -> Answer[PayTrust]:
    """Show.

    Parameters
    ----------
    peer
        Its id, or the last 6 characters or more: tell its level too.
    """
    return Answer(call("pay.trust", peer=peer), _trust)


def clear(who: str, /) -> Answer[PayCleared]:
    """Clear.

    Parameters
    ----------
    who
        A peer, by its id or the last 6 characters or more; or an account (0x…).
    """
    return Answer(
        call("pay.clear", who=who), lambda done: f"let off: {counted(done.cleared, 'payment')} stood against it"
    )


def usage(*, since: str | None = None) -> Answer[PayUsage]:
    """Show.

    Parameters
    ----------
    since
        From that day (UTC) on: a time, or so long ago, such as 7d. Without it, all that there ever was.
    """
    return Answer(call("pay.usage", since=0 if since is None else moment("--since", since)), _usage)


def _trust(found: PayTrust) -> str:
    levels = [
        [
            one.level,
            f"{one.tab} in a tab",
            f"{one.exposure} owed",
            "held until it is settled" if one.held else "at once",
        ]
        for one in found.levels
    ]
    offences = [
        [
            clock(one.at),
            short(one.peer),
            one.payer,
            f"{one.amount} {one.asset}",
            one.network,
            one.capability,
            one.reason,
        ]
        for one in found.offences
    ]
    rest = [
        ("all payers", f"{found.total} owed"),
        ("without a chain", f"{found.offline} owed, by one and by all"),
        ("known", f"who was named here, written to or listed, or settled {counted(found.known_after, 'payment')}"),
        ("trusted", ", ".join(found.trusted) or "nobody (trust_peers)"),
    ]
    if found.peer is not None:
        rest.insert(0, (short(found.peer), str(found.level)))
    return "\n\n".join(
        [
            table(["LEVEL", "TAB", "UNSETTLED", "OTHER OUTPUT"], levels, empty="no levels"),
            pairs(rest),
            table(
                ["AT", "PEER", "ACCOUNT", "AMOUNT", "NETWORK", "CAPABILITY", "TAKEN BACK"],
                offences,
                empty="nobody took a payment back",
            ),
        ]
    )


def _calls(one: UsageView) -> str:
    """What asked for a price alone, or was refused, is no call."""
    begun = f"{one.calls}" + (f" ({one.failed} failed)" if one.failed else "") if one.calls or not one.not_begun else ""
    return ", ".join(filter(None, [begun, f"{one.not_begun} not begun" if one.not_begun else ""]))


def _usage(found: PayUsage) -> str:
    rows = [
        [
            short(one.peer) or "earlier",
            one.capability,
            "they call us" if one.direction == "in" else "we call them",
            _calls(one),
            counted(one.units, *UNIT_WORDS[one.unit]) if one.unit else "",
            f"{one.amount} {one.asset} on {one.network}" if one.asset else "nothing",
            size(one.input_bytes),
            size(one.output_bytes),
        ]
        for one in found.rows
    ]
    return table(["PEER", "CAPABILITY", "WHO", "CALLS", "UNITS", "PAID", "IN", "OUT"], rows, empty="nothing was used")

"""pay: what is owed here, what each charge waits for, and whether the networks settle."""

from __future__ import annotations

import time
from typing import Annotated, Final

from cyclopts import Parameter

from nexusd.cli import feed
from nexusd.cli.outcome import Answer
from nexusd.cli.session import call
from nexusd.cli.terminal import clock, table
from nexusd_protocols.payments import faults
from nexusd_protocols.rpc.schema import ChargeView, PaySettleStatus

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]

NO_NODE: Final = (
    "no network has a node, so that nothing is settled: name one in config.toml, such as rpc_urls = "
    '["base=https://mainnet.base.org"], and start the daemon again'
)


def settle(
    *, status: Flag = False, before: int | None = None, after: int | None = None, limit: feed.Limit = 50
) -> Answer[PaySettleStatus]:
    """Show.

    Parameters
    ----------
    status
        Show the queue; it settles by itself, and there is nothing else to do.
    before
        Only charges before this position, as the end of a page names it.
    after
        Only charges after this position, the oldest first; 0 begins at the beginning.
    limit
        How many charges, 500 at most.
    """
    found: PaySettleStatus = call("pay.settlements", before=before, after=after, limit=limit)
    return Answer(found, _settlements, feed.continuation(found, backward=after is None))


def _settlements(found: PaySettleStatus) -> str:
    networks = [
        [one.network, "settles" if one.settles else "does not settle", one.problem]
        for one in found.networks
        if one.online or any(total.network == one.network for total in found.totals)
    ]
    totals = [[one.state, str(one.charges), f"{one.amount} {one.asset}", one.network] for one in found.totals]
    charges = [
        [
            clock(one.at),
            _standing(one),
            f"{one.amount} {one.asset}",
            one.network + (" (unfunded)" if one.unfunded else ""),
            one.capability + (f" (tab {one.tab})" if one.tab else ""),
            one.payer,
            one.transaction or "none",
        ]
        for one in found.charges
    ]
    return "\n\n".join(
        [
            table(["NETWORK", "STATE", ""], networks, empty=NO_NODE),
            table(["CHARGES", "COUNT", "AMOUNT", "NETWORK"], totals, empty="nothing is owed"),
            table(
                ["AT", "STATE", "AMOUNT", "NETWORK", "CAPABILITY", "PAYER", "TRANSACTION"], charges, empty="no charges"
            ),
        ]
    )


def _standing(one: ChargeView) -> str:
    """A charge's state, until when it can be settled where it is not yet, and what it waits for or why it ended."""
    state = one.state
    if one.state in ("due", "submitted"):
        now = time.time_ns() // 1_000_000
        words = "lost after" if one.valid_before > now else "its time was over at"
        state += f" ({words} {clock(one.valid_before)})"
    return f"{state}: {faults.CODES.get(one.reason, one.reason)}" if one.reason else state

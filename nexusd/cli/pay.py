"""pay: what may be paid, what waits for a person, and what was paid."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from nexusd.cli import exports, feed, payers, settlements, stdin, summaries
from nexusd.cli.options import FilePath
from nexusd.cli.outcome import Answer, Verbatim
from nexusd.cli.session import call
from nexusd.cli.terminal import clean, clock, counted, pairs, short, table
from nexusd.cli.usage import UsageError, between
from nexusd.client.errors import NexusError
from nexusd_protocols import limits
from nexusd_protocols.payments import faults
from nexusd_protocols.rpc.schema import (
    PayExplained,
    PayPolicy,
    PayStopped,
    PayVerified,
    PurchaseList,
    PurchaseView,
)

app = App(name="pay", help="Payments: policy, approvals, history, receipts, settlement.", help_format="plaintext")
policy = App(name="policy", help="What may be paid.", help_format="plaintext")
app.command(policy)
app.command(help=summaries.of("pay.trust", "nexus pay trust 9fKq2LmX"))(payers.trust)
app.command(help=summaries.of("pay.clear", "nexus pay clear 9fKq2LmX"))(payers.clear)
app.command(help=summaries.of("pay.usage", "nexus pay usage --since 7d"))(payers.usage)
app.command(help=summaries.of("pay.settlements", "nexus pay settle --status"))(settlements.settle)
app.command(help="All payments, for other programs.\n\nExample: nexus pay export --csv > payments.csv")(exports.export)

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
Switch = Annotated[bool | None, Parameter(show_default=False)]
Window = Annotated[
    int | None, Parameter(show_default=False, validator=between(limits.PAYMENT_SETTLING_S, limits.PAYMENT_TIMEOUT_S))
]
Listed = Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)]

NONE: Final = "none"
OUTCOMES: Final = {
    **faults.CODES,
    faults.UNEXPECTED_SETTLE: "nothing was charged",
    "payments_stopped": "payments were stopped",
    "rejected": "a person rejected it",
    "restarted": "the daemon stopped before it was signed",
    "unanswered": "nobody answered for it",
    "unused": "it was not used, says the chain",
    "canceled": "it was cancelled on the chain",
}
"""What the outcome of a payment is called; providers name work that failed like a settlement that did."""
RECEIPT: Final = "what `nexus pay explain ID --receipt` printed"


# --- policy ---------------------------------------------------------------------------------------------------------
@policy.command(help=summaries.of("pay.policy", "nexus pay policy show"))
def show() -> Answer[PayPolicy]:
    """Show."""
    return Answer(call("pay.policy"), _policy)


@policy.command(
    name="set",
    help=summaries.of(
        "pay.setPolicy",
        "nexus pay policy set --per-request 1 --per-day 10 --allow-network base",
        "What is left out stays. Amounts are whole tokens; `none` takes a limit away. A list replaces the one before "
        "it, and `none` as its only entry empties it.",
    ),
)
def set_(
    *,
    per_request: str | None = None,
    per_hour: str | None = None,
    per_day: str | None = None,
    per_payee: str | None = None,
    per_minute: str | None = None,
    approve_above: str | None = None,
    approve_first: Switch = None,
    allow_network: Listed = (),
    allow_asset: Listed = (),
    allow_peer: Listed = (),
    allow_capability: Listed = (),
    max_window: Window = None,
) -> Answer[PayPolicy]:
    """Change.

    Parameters
    ----------
    per_request
        What one call may cost.
    per_hour
        What may be spent in an hour.
    per_day
        What may be spent in a day.
    per_payee
        What one payee may get in a day.
    per_minute
        How many payments may be made in a minute (default: 60).
    approve_above
        Above it a person is asked.
    approve_first
        Ask a person before a payee is paid for the first time.
    allow_network
        Network on which may be paid; repeatable, as the next ones are. Without one, none.
    allow_asset
        Token that may be paid (default: USDC).
    allow_peer
        Provider that may be paid; everybody, without one.
    allow_capability
        Capability that may be paid for; all, without one.
    max_window
        Seconds that an authorisation may hold, 60 or more: settling takes so long (default: 600, as a tab holds).
    """
    if per_minute is not None and not (per_minute == NONE or (per_minute.isdecimal() and len(per_minute) <= 6)):
        raise UsageError(f"--per-minute {per_minute} is no number of payments", "give a whole number, or none")
    changed: PayPolicy = call(
        "pay.setPolicy",
        per_request=per_request,
        per_hour=per_hour,
        per_day=per_day,
        per_payee=per_payee,
        per_minute=per_minute,
        approve_above=approve_above,
        approve_first=approve_first,
        networks=_given(allow_network),
        assets=_given(allow_asset),
        peers=_given(allow_peer),
        capabilities=_given(allow_capability),
        max_window_s=max_window,
    )
    return Answer(changed, _policy)


@app.command(help=summaries.of("pay.stop", "nexus pay stop"))
def stop(*, off: Flag = False) -> Answer[PayStopped]:
    """Stop paying.

    Parameters
    ----------
    off
        Allow it again.
    """
    return Answer(
        call("pay.stop", stopped=not off),
        lambda done: "nothing is paid any more: `nexus pay stop --off` ends that" if done.stopped else "paying again",
    )


# --- approvals ------------------------------------------------------------------------------------------------------
@app.command(help=summaries.of("pay.approvals", "nexus pay approvals"))
def approvals() -> Answer[PurchaseList]:
    """List."""
    found: PurchaseList = call("pay.approvals")
    how = "`nexus pay approve ID` lets its call go on, `nexus pay reject ID` ends it" if found.purchases else ""
    return Answer(found, lambda found: _purchases(found, "nothing waits for you"), how)


@app.command(help=summaries.of("pay.approve", "nexus pay approve 019aca5e-…"))
def approve(id_: Annotated[str, Parameter(name="id")], /) -> Answer[PurchaseView]:
    """Approve.

    Parameters
    ----------
    id_
        Of the payment, as `nexus pay approvals` shows it, or its first 6 characters or more.
    """
    return Answer(call("pay.approve", id=id_), lambda one: f"approved: {clean(one.amount)} {clean(one.asset)}")


@app.command(help=summaries.of("pay.reject", "nexus pay reject 019aca5e-…"))
def reject(id_: Annotated[str, Parameter(name="id")], /) -> Answer[PurchaseView]:
    """Reject.

    Parameters
    ----------
    id_
        Of the payment, as `nexus pay approvals` shows it, or its first 6 characters or more.
    """
    return Answer(call("pay.reject", id=id_), lambda one: f"rejected: {clean(one.amount)} {clean(one.asset)}")


# --- what was paid --------------------------------------------------------------------------------------------------
@app.command(help=summaries.of("pay.history", "nexus pay history --limit 20"))
def history(*, before: int | None = None, after: int | None = None, limit: feed.Limit = 50) -> Answer[PurchaseList]:
    """List, the newest last.

    Parameters
    ----------
    before
        Only those before this position, as the end of a page names it.
    after
        Only those after this position, the oldest first; 0 begins at the beginning.
    limit
        How many payments, 500 at most.
    """
    found: PurchaseList = call("pay.history", before=before, after=after, limit=limit)
    more = feed.continuation(found, backward=after is None)
    return Answer(found, lambda found: _purchases(found, "nothing was paid"), more)


@app.command(help=summaries.of("pay.explain", "nexus pay explain 019aca5e-…"))
def explain(id_: Annotated[str, Parameter(name="id")], /, *, receipt: Flag = False) -> Answer[PayExplained] | Verbatim:
    """Explain.

    Parameters
    ----------
    id_
        Of the payment: the receipt's id that `nexus invoke` prints, or its first 6 characters or more.
    receipt
        Print the receipt alone, as `nexus pay verify` reads it.
    """
    found: PayExplained = call("pay.explain", id=id_)
    if not receipt:
        return Answer(found, _explained)
    if not found.receipt:
        raise UsageError("there is no receipt for that payment", "see `nexus pay receipts`")
    return Verbatim(clean(found.receipt))


@app.command(help="Payments that have a receipt.\n\nExample: nexus pay receipts")
def receipts(*, before: int | None = None, after: int | None = None, limit: feed.Limit = 50) -> Answer[PurchaseList]:
    """List, the newest last.

    Parameters
    ----------
    before
        Only those before this position, as the end of a page names it.
    after
        Only those after this position, the oldest first; 0 begins at the beginning.
    limit
        How many payments, 500 at most.
    """
    found: PurchaseList = call("pay.history", before=before, after=after, limit=limit, receipts=True)
    more = feed.continuation(found, backward=after is None)
    return Answer(found, lambda found: _purchases(found, "there are no receipts"), more)


@app.command(help=summaries.of("pay.verify", "nexus pay verify receipt.jws"))
def verify(file: FilePath, /) -> Answer[PayVerified]:
    """Verify.

    Parameters
    ----------
    file
        File with the receipt, as `nexus pay explain --receipt` prints it; - for standard input.
    """
    text = stdin.read_file(file, limits.RECEIPT_BYTES, wanted=RECEIPT)
    try:
        found: PayVerified = call("pay.verify", receipt=text.strip())
    except NexusError as error:
        if error.code not in ("daemon_unreachable", "ambiguous_daemon"):
            raise
        found = _alone(text)
    hint = "" if found.valid or text.count(".") == 2 else f"a receipt is {RECEIPT}"
    return Answer(found, _verified, hint, exit_code=0 if found.valid else 1)


def _alone(text: str) -> PayVerified:
    """A receipt holds all that it takes to verify it; a daemon knows the names of more tokens."""
    from nexusd_protocols.payments.tokens import Tokens
    from nexusd_protocols.rpc.receipts import verified

    return verified(text, Tokens())


def _given(listed: tuple[str, ...]) -> list[str] | None:
    return None if not listed else [] if listed == (NONE,) else list(listed)


def _policy(shown: PayPolicy) -> str:
    def limit(text: str | None) -> str:
        return "no limit" if text is None else text

    def names(listed: list[str] | None, otherwise: str) -> str:
        return otherwise if listed is None else ", ".join(listed) or "none"

    rows = [
        ("a request", "0: nothing but what is free" if shown.per_request == "0" else limit(shown.per_request)),
        ("an hour", f"{limit(shown.per_hour)} (spent, or signed and still usable: {shown.spent_hour})"),
        ("a day", f"{limit(shown.per_day)} (spent, or signed and still usable: {shown.spent_day})"),
        ("a payee and day", limit(shown.per_payee)),
        ("a minute", "no limit" if shown.per_minute is None else counted(shown.per_minute, "payment")),
        ("a person decides", f"above {shown.approve_above}" if shown.approve_above is not None else "never by amount"),
        ("", "before a payee is paid for the first time") if shown.approve_first else ("", ""),
        ("networks", names(shown.networks, "none") if shown.networks else "none: nothing is paid anywhere"),
        ("tokens", names(shown.assets, "none")),
        ("providers", names(shown.peers, "everybody")),
        ("capabilities", names(shown.capabilities, "all")),
        ("longest window", f"{shown.max_window_s} s"),
    ]
    if shown.stopped:
        rows.insert(0, ("STOPPED", "nothing is paid: `nexus pay stop --off` ends that"))
    return pairs(row for row in rows if row != ("", ""))


def _state(one: PurchaseView) -> str:
    """Where a payment stands, and why."""
    return f"{one.state}: {OUTCOMES.get(one.outcome, one.outcome)}" if one.outcome else one.state


def _amount(one: PurchaseView) -> str:
    """What was charged; of tabs that nobody accounted for, what that is at most."""
    if not one.tabs:
        return f"{one.amount} {one.asset}"
    most = "" if one.charged else "at most "
    return f"{most}{one.charged or one.signed} {one.asset}" + (
        f" in {counted(one.tabs, 'tab')}" if one.tabs > 1 else ""
    )


def _purchases(found: PurchaseList, empty: str) -> str:
    rows = [
        [
            one.id,
            clock(one.at),
            _state(one),
            _amount(one),
            one.network,
            one.capability,
            short(one.peer),
            "yes" if one.receipt else "no",
        ]
        for one in found.purchases
    ]
    return table(["ID", "AT", "STATE", "AMOUNT", "NETWORK", "CAPABILITY", "PROVIDER", "RECEIPT"], rows, empty=empty)


def _explained(found: PayExplained) -> str:
    one = found.purchase
    until = found.counts_until if one.counts != "0" else None
    rows = [
        ("id", one.id),
        ("at", clock(one.at)),
        ("state", _state(one)),
        *([("that is", clean(found.explanation))] if found.explanation else []),
        ("for", f"{one.capability} of {one.peer}"),
        ("at most" if one.tabs else "price", f"{one.amount} {one.asset} on {one.network}"),
        ("signed", f"{one.signed} {one.asset}" + (f" in {counted(one.tabs, 'tab')}" if one.tabs else "")),
        ("paid to", one.pay_to),
        ("transaction", one.transaction or "none that was told"),
        ("counts as spent", one.counts + (f" until {clock(until)}" if until else "")),
    ]
    if found.tabs:
        rows += [(f"tab {n}", f"{tab.amount} {one.asset}: {tab.key}") for n, tab in enumerate(found.tabs, 1)]
    elif found.key:
        rows.append(("authorisation", found.key))
    if isinstance(found.response, dict):
        rows.append(("provider said", _said(found.response)))
    rows.append(("receipt", f"`nexus pay explain {one.id} --receipt` prints it" if found.receipt else "none"))
    return pairs(rows)


def _said(response: dict[str, Any]) -> str:
    """A provider's SettlementResponse, in short; whole it is in the JSON."""
    if response.get("success") is True:
        return "it takes this as paid"
    reason, message = response.get("errorReason"), response.get("errorMessage")
    means = faults.CODES.get(reason, reason) if isinstance(reason, str) else ""
    return (message if isinstance(message, str) else "") or means or "nothing that makes sense"


def _verified(found: PayVerified) -> str:
    if not found.valid or found.receipt is None:
        return f"not valid: {clean(found.problem)}"
    shown = ("amount", "asset", "network")
    told = {name: value for name, value in found.receipt.items() if name not in shown and value is not None}
    rows = [("paid", f"{found.amount} {found.asset} on {found.network}")]
    for name, value in told.items():
        if name == "issuedAt" and isinstance(value, int):
            rows.append((name, clock(value * 1000)))
        else:
            rows.append((name, value if isinstance(value, str) else json.dumps(value)))
    return "valid: signed by the provider\n" + pairs(rows)

"""pay: all that was paid, or all that others owe and paid, for other programs."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter

from nexusd.cli.outcome import Verbatim
from nexusd.cli.session import call, current
from nexusd.cli.times import iso
from nexusd.cli.usage import UsageError
from nexusd_protocols import limits
from nexusd_protocols.rpc.schema import ChargeView, PaySettleStatus, PurchaseList, PurchaseView

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]

PAGE: Final = limits.PAGE_ROWS
TIMES: Final = ("at", "valid_before")
"""Fields in unix milliseconds."""


class Payment(PurchaseView, frozen=True, kw_only=True):
    """A payment as an account book takes it: of a call with tabs `amount` is what it cost, as far as that is known,
    else what is signed; and `budget` what it might have cost."""

    budget: str = ""


def export(*, csv_: Annotated[Flag, Parameter(name="--csv")] = False, income: Flag = False) -> Verbatim:
    """Export.

    Parameters
    ----------
    csv_
        Comma-separated values, as spreadsheets read them; a line of JSON for each without it.
    income
        What others pay this agent, as `nexus pay settle` shows it, instead of what it pays.
    """
    if csv_ and current().options.json:
        raise UsageError("--csv and --json are two forms of the same", "leave one of them out")
    rows: list[Any] = _income() if income else _payments()
    if not csv_:
        return Verbatim("\n".join(msgspec.json.encode(row).decode() for row in rows))
    out = io.StringIO()
    fields = ChargeView.__struct_fields__ if income else Payment.__struct_fields__
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows([[_cell(field, getattr(row, field)) for field in fields] for row in rows])
    return Verbatim(out.getvalue().removesuffix("\n"))


def _payments() -> list[Payment]:
    rows: list[Payment] = []
    after: int | None = 0
    while after is not None:
        page: PurchaseList = call("pay.history", after=after, limit=PAGE)
        rows += map(_payment, page.purchases)
        after = page.last if page.more else None
    return rows


def _payment(one: PurchaseView) -> Payment:
    fields = msgspec.structs.asdict(one)
    return Payment(**{**fields, "amount": one.charged or one.signed, "budget": one.amount} if one.tabs else fields)


def _income() -> list[ChargeView]:
    rows: list[ChargeView] = []
    after: int | None = 0
    while after is not None:
        page: PaySettleStatus = call("pay.settlements", after=after, limit=PAGE)
        rows += page.charges
        after = page.last if page.more else None
    return rows


def _cell(field: str, value: Any) -> str:
    """A field as a spreadsheet may have it: what a peer wrote must not become a formula."""
    text = iso(value) if field in TIMES else str(value).lower() if isinstance(value, bool) else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text

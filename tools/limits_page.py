"""limits.md: what is accepted from outside, with the reasons that stand behind each name in the code."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from nexusd.host.limits.figures import Figures
from nexusd_protocols import limits
from tools import markdown


class _Limit(NamedTuple):
    names: list[str]
    reason: str


def text() -> str:
    """All of it."""
    intro = (
        "What is accepted from outside, and why so much and no more. Machines take these as parameters; the "
        "daemon uses "
        "these values. A reason below several names is that of all of them."
    )
    body = ["## Connections", markdown.table(["limit", "value", "reason"], _figures())]
    for title, rows in _sections(Path(inspect.getfile(limits)).read_text()):
        body.append(f"## {title}")
        body.append(
            markdown.table(
                ["limit", "value", "reason"],
                (
                    ["<br>".join(map(markdown.code, row.names)), "<br>".join(_amount(n) for n in row.names), row.reason]
                    for row in rows
                ),
            )
        )
    return markdown.page("Limits", "nexusd_protocols.limits and nexusd.host.limits.figures", intro, body)


def _figures() -> Iterator[list[str]]:
    """The fields of Figures, each with the text behind it."""
    [body] = (node.body for node in ast.parse(inspect.getsource(Figures)).body if isinstance(node, ast.ClassDef))
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            name, value = field.target.id, getattr(Figures(), field.target.id)
            shown = str(value).lower() if isinstance(value, bool) else _shown(name.upper(), value)
            yield [markdown.code(name), shown, ast.literal_eval(text.value)]


def _sections(source: str) -> Iterator[tuple[str, list[_Limit]]]:
    """The headings of the module, each with its limits: names that follow one another share the text behind them."""
    lines = source.splitlines()
    title, rows, names = "", list[_Limit](), list[str]()
    last_line = 0
    for node in ast.parse(source).body:
        heading = next((line for line in lines[last_line : node.lineno] if line.startswith("# ---")), "")
        gap = any(not line.strip() for line in lines[last_line : node.lineno - 1])
        last_line = node.end_lineno or node.lineno
        if names and (gap or heading):
            rows.append(_Limit(names, ""))
            names = []
        if heading:
            if rows:
                yield title, rows
            title, rows = heading.strip("# -").partition(" (")[0], []
            title = title[:1].upper() + title[1:]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and title:
            names.append(node.target.id)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and names:
            rows.append(_Limit(names, str(node.value.value)))
            names = []
    if names:
        rows.append(_Limit(names, ""))
    yield title, rows


def _amount(name: str) -> str:
    return _shown(name, getattr(limits, name))


def _shown(name: str, value: float) -> str:
    if name.endswith(("_BYTES", "_WINDOW")):
        for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value >= factor and value % factor == 0:
                return f"{value // factor} {unit}"
        return f"{value:,} B"
    if name.endswith("_MS"):
        return f"{value / 1000:,g} s"
    if name.endswith(("_SECONDS", "_TIMEOUT")) and "PER_SECOND" not in name:
        return f"{value:g} s"
    return (
        f"{value:.3g}"
        if isinstance(value, float) and value < 1
        else f"{value:,g}"
        if isinstance(value, float)
        else f"{value:,}"
    )

"""Markdown as the pages of docs/reference have it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

_MADE: Final = "<!-- made by `make docs` from {source}: do not edit -->"


def page(title: str, source: str, intro: str, body: Iterable[str]) -> str:
    """A whole page that is made from `source`."""
    text = "\n\n".join([f"# {title}", paragraph(intro), *body]).rstrip()
    return f"{_MADE.format(source=source)}\n\n{_escape(text)}\n"


def paragraph(text: str) -> str:
    """A paragraph within 120 columns."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _escape(text: str) -> str:
    """A placeholder such as <name> would pass for HTML, unless it stands in `code`."""
    return re.sub(r"(`[^`]*`)|<(?!br>)(\w+)>", lambda found: found[1] or f"\\<{found[2]}>", text)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; what would break a row is escaped."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(header), "|" + "---|" * len(header), *map(line, rows)])


def code(text: str | None) -> str:
    """A piece of code, nothing for nothing."""
    return f"`{text}`" if text else ""


def anchor(heading: str) -> str:
    """As GitHub makes them."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")

"""Text for people. Every string that may come from a peer goes through `clean` or `cells`, which strip what a
terminal would obey."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from nexusd_protocols.untrusted import printable

SHORT: Final = 8
"""Characters of a peer id that tables show: its end, because every id begins with 12D3KooW. The daemon takes 6 or more
as a <peer>."""


def clean(text: str) -> str:
    """One line that is safe to print."""
    return printable(text)


def short(peer: str) -> str:
    """The end of a peer id, fit to be typed as <peer>."""
    return clean(peer[-SHORT:])


def who(peer: str, name: str | None) -> str:
    """A peer with the name it gives itself; the name alone would prove nothing."""
    return f"{clean(name)} ({short(peer)})" if name else short(peer)


def block(text: str, indent: str) -> str:
    """Text of several lines, safe to print, all but the first line indented."""
    return printable(text, lines=True).replace("\n", f"\n{indent}")


def piece(text: str) -> str:
    """A piece of a longer text, safe to print; its line ends stay."""
    return printable(text, lines=True)


def cells(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    """Rows made safe to print."""
    return [[clean(cell) for cell in row] for row in rows]


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> str:
    """Columns under a header, or the word for none."""
    body = cells(rows)
    if not body:
        return empty
    lines = [list(header), *body]
    widths = [max(width(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell + " " * (widths[column] - width(cell)) for column, cell in enumerate(line)).rstrip()
        for line in lines
    )


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Labels and values, one a line; an empty label continues the value above."""
    body = list(rows)
    wide = max(len(label) for label, _ in body)
    return "\n".join(f"{label:<{wide}}  {clean(value)}".rstrip() for label, value in body)


def width(text: str) -> int:
    """Terminal columns: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def clock(unix_ms: int, now_ms: int | None = None) -> str:
    """Local time; with the date unless it is today's."""
    then = _local(unix_ms)
    today = _local(time.time_ns() // 1_000_000 if now_ms is None else now_ms)
    if then is None:
        return "?"
    return f"{then:%H:%M:%S}" if today is not None and then.date() == today.date() else f"{then:%Y-%m-%d %H:%M:%S}"


def ago(unix_ms: int, now_ms: int | None = None) -> str:
    """How long ago, in the largest unit that fits."""
    if unix_ms <= 0:
        return "never"
    passed = (time.time_ns() // 1_000_000 if now_ms is None else now_ms) - unix_ms
    return "now" if passed < 1000 else f"{duration(passed)} ago"


def duration(ms: int) -> str:
    """A length of time, in the largest unit that fits."""
    seconds = ms // 1000
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s" if seconds else f"{ms} ms"


def counted(count: int, one: str, many: str = "") -> str:
    """So many of something: `1 pin`, `2 pins`. `many` is the word for several, where it is not `one` and an s."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def size(count: int) -> str:
    """Bytes, in the largest binary unit that fits."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def _local(unix_ms: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(unix_ms / 1000).astimezone()
    except (ValueError, OverflowError, OSError):
        return None  # a sender can claim any time

"""Text of a peer's, made fit to be shown on a terminal.

A peer chooses its names and messages. Shown as they are, they could move the cursor, set the title, write the
clipboard, forge the line of somebody else, or read backwards. One pass takes out everything that is not itself
visible; what remains is what the text says.
"""

from __future__ import annotations

import re
from typing import Final

# ECMA-48 §5.4 and §8.3, in both the 7-bit (ESC Fe) and the 8-bit (C1) form. No body may hold an introducer, so that a
# character is scanned for one introducer at most and the time is linear. A sequence that is not ended loses only that.
_SEQUENCES: Final = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor, modes
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)"  # titles, links, clipboard
    r"|\x1b[ -/]+[0-~]"  # character sets and the like
    r"|\x1b[0-~]"  # two-character escapes, and introducers of what is not ended
)
_INVISIBLE: Final = (
    r"\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0"  # soft hyphen, joiners, fillers
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, separators, bidirectional marks and overrides
    r"\ufeff\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # byte-order mark, annotations, tags
    r"\ud800-\udfff"  # lone surrogates: they cannot be written at all
)
_LINE: Final = re.compile(rf"(?P<blank>\r\n|[\t\n\v\f\r\x85\u2028\u2029])|{_SEQUENCES}|[{_INVISIBLE}]")
_TEXT: Final = re.compile(rf"(?P<blank>\r\n|[\v\f\r\x85\u2028\u2029])|{_SEQUENCES}|(?![\t\n])[{_INVISIBLE}]")

_HIDDEN: Final = re.compile(rf"[{_INVISIBLE}]")


def escaped(json: str) -> str:
    """The same JSON with all that is not itself visible written as `\\u…`: JSON wants that of C0 alone (RFC 8259 §7),
    and a terminal obeys C1 too. Give it JSON on one line: a line feed between tokens would be escaped as well."""
    return _HIDDEN.sub(lambda match: "".join(f"\\u{unit:04x}" for unit in _utf16(match[0])), json)


def _utf16(character: str) -> tuple[int, ...]:
    data = character.encode("utf-16-be", "surrogatepass")
    return tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))


def printable(text: str, limit: int | None = None, *, lines: bool = False) -> str:
    """`text` without terminal sequences, control characters, bidirectional overrides and invisible characters.

    On one line, unless `lines`: then line feeds and tabs stay. Otherwise each becomes a blank. What is over `limit`
    characters is cut, and an ellipsis says so. Joined emoji come apart: the joiner is invisible too.
    """
    pattern, blank = (_TEXT, "\n") if lines else (_LINE, " ")
    clean = pattern.sub(lambda match: blank if match["blank"] else "", text)
    if limit is not None and len(clean) > limit:
        clean = clean[: limit - 1] + "…" if limit > 0 else ""
    return clean

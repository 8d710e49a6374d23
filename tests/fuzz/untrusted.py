"""Text of a peer's on its way to a terminal: no control character is left, whatever came."""

from __future__ import annotations

import unicodedata

from nexusd_protocols.untrusted import printable

SEEDS = [
    b"\x1b[31mred\x1b[0m plain",
    b"\x1b]8;;http://evil\x1b\\click\x1b]8;;\x07",
    "\x9b2J\x9d0;title\x9c\u202egpj.exe\u200b".encode(),
    b"\x1b(0\x1bc\x1bP1$q\x1b\\\r\n\t",
]


def target(data: bytes) -> None:
    """Whatever is left, a terminal shows."""
    text = data.decode("utf-8", "surrogateescape")
    for lines in (False, True):
        shown = printable(text, 100, lines=lines)
        assert len(shown) <= 100
        left = {character for character in shown if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")}
        assert left <= ({"\n", "\t"} if lines else set())
        assert printable(shown, 100, lines=lines) == shown

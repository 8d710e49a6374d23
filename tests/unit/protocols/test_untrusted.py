"""Text of a peer's, made fit for a terminal."""

from __future__ import annotations

import json
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.untrusted import escaped, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("Grüße, 世界 🌍", "Grüße, 世界 🌍"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[38;2;1;2;3mrgb", "rgb"),
        ("\x1b[?25lhidden cursor", "hidden cursor"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]0;title\x1b\\after", "after"),
        ("\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "click"),
        ("\x1b]52;c;ZXZpbA==\x07clip", "clip"),
        ("\x9d0;title\x9cafter", "after"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
        ("\x1b^private\x1b\\x", "x"),
        ("\x1b_app\x1b\\x", "x"),
        ("\x1bXstring\x1b\\x", "x"),
        ("\x90dcs\x9cx", "x"),
        ("\x1b(0lines", "lines"),
        ("\x1bcreset", "reset"),
        ("\x1b7save\x1b8", "save"),
        ("\x1b]0;never ended", "0;never ended"),
        ("\x1b[", ""),
        ("\x1b", ""),
        ("\x1b[\x1b[31m31mx", "31mx"),
        ("\x1b\x1b[31m", ""),
        ("a\x00b\x07c\x08d\x7f", "abcd"),
        ("one\ntwo\r\nthree\rfour\tfive", "one two three four five"),
        ("a\x85b\u2028c\u2029d", "a b c d"),
        ("user\u202egpj.exe", "usergpj.exe"),
        ("\u2066isolated\u2069", "isolated"),
        ("al\u200bi\u200dce\ufeff", "alice"),
        ("soft\u00adhyphen", "softhyphen"),
        ("tag\U000e0041\U000e007f", "tag"),
        ("\ud800x", "x"),
        ("", ""),
    ],
)
def test_one_line(text, shown):
    assert printable(text) == shown


def test_lines_keep_their_ends_and_tabs():
    assert printable("a\r\nb\tc\rd\x1b[2Je\x00\u2028f", lines=True) == "a\nb\tc\nde\nf"


@pytest.mark.parametrize(
    ("limit", "shown"), [(0, ""), (1, "…"), (4, "abc…"), (5, "abcde"), (6, "abcde"), (None, "abcde")]
)
def test_limit(limit, shown):
    assert printable("abcde", limit) == shown


def test_the_limit_counts_what_is_shown():
    assert printable("\x1b[31ma\x1b[0mb", 2) == "ab"


HOSTILE = st.text(
    st.sampled_from("\x1b\x9b\x9d\x90\x9c\x07[](;0123456789mHJPX^_\\?abc \n\r\t\u202e\u200b\ufeff\ud800")
    | st.characters()
)


@given(HOSTILE, st.none() | st.integers(0, 30), st.booleans())
def test_nothing_that_a_terminal_would_obey_is_left(text, limit, lines):
    shown = printable(text, limit, lines=lines)
    allowed = "\n\t" if lines else ""
    for character in shown:
        category = unicodedata.category(character)
        assert category not in ("Cs", "Zl", "Zp")
        assert category != "Cc" or character in allowed
        assert unicodedata.bidirectional(character) not in (
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        )
    assert limit is None or len(shown) <= limit
    assert printable(shown, limit, lines=lines) == shown
    shown.encode()


@pytest.mark.parametrize(
    "piece", ["\x1b", "\x1b[", "\x1b]", "\x1b]a", "\x1b[0", "\x9d", "\x1b[;", "\x1b(", "\x1bP\x1b]"]
)
def test_the_time_is_linear(piece):
    start = time.process_time()
    printable(piece * (300_000 // len(piece)))
    assert time.process_time() - start < 1


@given(st.text())
def test_escaped_json_says_the_same_and_hides_nothing(text: str) -> None:
    shown = escaped(json.dumps(text, ensure_ascii=False))
    assert json.loads(shown) == text
    assert printable(shown) == shown


def test_escapes_beyond_ascii() -> None:
    text = "\x7f\x9b\u202e\U000e0041\u00e9"
    assert escaped(f'"{text}"') == '"\\u007f\\u009b\\u202e\\udb40\\udc41\u00e9"'

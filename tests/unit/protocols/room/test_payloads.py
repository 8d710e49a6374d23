"""Names fit for display, whatever was sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.room import payloads


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("alice", "alice"),
        ("  alice \t of\nwonderland ", "alice of wonderland"),
        ("Zoë", "Zoë"),
        ("アリス", "アリス"),
        ("อลิซ", "อลิซ"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\u3164\u115fb", "ab"),
        ("a\u202ebob", "abob"),
        ("a\u200b\u2066b", "ab"),
        ("<script>", "script"),
        ("😀", ""),
        ("x" * 100, "x" * 64),
        ("\x00", ""),
    ],
)
def test_names_are_cleaned(name, cleaned):
    assert payloads.clean(name) == cleaned


@given(st.text(), st.integers(1, 80))
def test_a_clean_name_is_short_printable_and_stays_as_it_is(name, max_chars):
    cleaned = payloads.clean(name, max_chars)
    assert len(cleaned) <= max_chars
    assert cleaned.isprintable()
    assert payloads.clean(cleaned, max_chars) == cleaned

"""Tables, times and sizes, with names as peers choose them."""

import time

import pytest

from nexusd.cli import terminal

NOW = 1_700_000_000_000  # 2023-11-14 22:13:20 UTC


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_columns_line_up_under_wide_and_combining_characters():
    shown = terminal.table(["NAME", "X"], [["日本", "1"], ["e\u0301", "2"], ["abcde", "3"]], empty="")
    assert shown.splitlines() == ["NAME   X", "日本   1", "e\u0301      2", "abcde  3"]


def test_a_table_of_nothing():
    assert terminal.table(["A"], [], empty="none") == "none"


def test_a_cell_cannot_leave_its_row():
    shown = terminal.table(["NAME", "X"], [["a\nb\x1b[2J\r", "\u202e1"]], empty="")
    assert len(shown.splitlines()) == 2
    assert "\x1b" not in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (NOW, "22:13:20"),
        (NOW - 86_400_000, "2023-11-13 22:13:20"),
        (0, "1970-01-01 00:00:00"),
        (10**18, "?"),
        (-(10**18), "?"),
    ],
)
def test_clock(ms, text):
    assert terminal.clock(ms, NOW) == text


def test_clock_is_local(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert terminal.clock(NOW, NOW) == "07:13:20"
    finally:
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "never"), (NOW, "now"), (NOW + 5000, "now"), (NOW - 1000, "1 s ago"), (NOW - 3_600_000, "1 h ago")],
)
def test_ago(ms, text):
    assert terminal.ago(ms, NOW) == text


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0 ms"), (999, "999 ms"), (59_999, "59 s"), (60_000, "1 min"), (90_000_000, "1 d")]
)
def test_duration(ms, text):
    assert terminal.duration(ms) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB")])
def test_size(count, text):
    assert terminal.size(count) == text


def test_who():
    assert terminal.who("12D3KooWabcdefgh", "bob\x1b[1m") == "bob (abcdefgh)"
    assert terminal.who("12D3KooWabcdefgh", None) == "abcdefgh"


def test_further_lines_are_indented():
    assert terminal.block("a\r\nb\u2028c", "  ") == "a\n  b\n  c"

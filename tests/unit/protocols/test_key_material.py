"""Keys in text: the vectors, and that the time is linear."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.key_material import KINDS, contains, find, redact
from tests.harness.vectors import vectors

ROWS = vectors("payments")["keyMaterial"]


@pytest.mark.parametrize("row", ROWS, ids=[row["text"][:24] for row in ROWS])
def test_found(row):
    findings = find(row["text"])
    assert [[finding.kind, finding.start, finding.end] for finding in findings] == row["findings"]
    assert contains(row["text"]) is bool(findings)
    assert not contains(redact(row["text"]))


def test_each_kind_is_found():
    assert {kind for row in ROWS for kind, _, _ in row["findings"]} == set(KINDS)


def test_what_is_around_stays():
    assert redact("use password=hunter22, then go") == "use [redacted password], then go"
    assert redact("nothing here") == "nothing here"


@given(st.lists(st.sampled_from([*(row["text"] for row in ROWS), " ", "\n", "x", "0x", "İ"]), max_size=12).map("".join))
def test_findings_are_in_order_and_apart(text):
    end = 0
    for finding in find(text):
        assert end <= finding.start < finding.end <= len(text)
        end = finding.end


@pytest.mark.parametrize(
    "piece",
    [
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN ",
        "seed is ",
        "password ",
        "password: ",
        "secret",
        "0x",
        "sk-",
        "a_",
        "api",
    ],
)
def test_the_time_is_linear(piece):
    def seconds(size):
        text = (piece * size)[:size]
        best = 9.0
        for _ in range(3):
            begin = time.process_time()
            find(text)
            best = min(best, time.process_time() - begin)
        return best

    # four times the text, and not sixteen times the time
    assert seconds(400_000) < 10 * seconds(100_000) + 0.05

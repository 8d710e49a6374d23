"""Addresses: the checksum of EIP-55, and that a peer's case does not matter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.payments.address import checksummed, parse_address, read_address

# EIP-55's own
EXAMPLES = (
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
)


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_of_the_standard(text):
    assert checksummed(read_address(text)) == text
    assert parse_address(text) == read_address(text.lower())


@given(st.binary(min_size=20, max_size=20))
def test_round_trip(raw):
    assert read_address(checksummed(raw)) == raw
    assert parse_address(checksummed(raw)) == raw
    assert parse_address(f"0x{raw.hex()}") == parse_address(f"0x{raw.hex().upper()}") == raw


def test_a_mistyped_character_is_found():
    text = EXAMPLES[4]
    wrong = text[:-1] + ("D" if text[-1] == "d" else "d")
    with pytest.raises(ValueError, match="checksum"):
        parse_address(wrong)
    assert read_address(wrong) == read_address(text)  # a peer's is signed


@pytest.mark.parametrize(
    "text", ["", "0x", "0x" + "1" * 39, "0x" + "1" * 41, "0X" + "1" * 40, "0x" + "g" * 40, None, 7]
)
def test_refused(text):
    with pytest.raises(ValueError, match="not an address"):
        read_address(text)

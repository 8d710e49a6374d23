"""Names and ids."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.ids import parse_capability_name, parse_message_id, parse_room_id, uuid7


@pytest.mark.parametrize("text", ["a", "general", "A.b_c-9", "0", "r" * 64])
def test_room_ids(text):
    assert parse_room_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "r" * 65,
        "a/b",
        "a b",
        "é",
        "😀",
        ".a",
        "-a",
        "_a",
        "a:b",
        "a\n",
        "a\0",
        "../a",
        "ａ",
        "a\u200b",
        "r" * 1_000_000,
    ],
)
def test_what_is_no_room_id(text):
    with pytest.raises(ValueError, match="a room id is 1 to 64"):
        parse_room_id(text)


@pytest.mark.parametrize("text", ["upper", "llm:chat", "a.b_c-9:z", "c" * 64])
def test_capability_names(text):
    assert parse_capability_name(text) == text


@pytest.mark.parametrize("text", ["", "c" * 65, "a/b", ":a", "a b", "é", "a\n", "\x1b[31m"])
def test_what_is_no_capability_name(text):
    with pytest.raises(ValueError, match="a capability's name is 1 to 64"):
        parse_capability_name(text)


@pytest.mark.parametrize("text", ["x", "0199c82c-c800-7abc-8def-0123456789ab", "!~", "i" * 64])
def test_message_ids(text):
    assert parse_message_id(text) == text


@pytest.mark.parametrize("text", ["", "i" * 65, "a b", "a\n", "é", "\x7f"])
def test_what_is_no_message_id(text):
    with pytest.raises(ValueError, match="a message id is 1 to 64"):
        parse_message_id(text)


def test_the_uuid_of_rfc_9562():
    # RFC 9562 appendix A.6: unix_ts_ms 0x017F22E279B0, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F
    random = (0xCC3 << 62 | 0x18C4DC0C0C07398F).to_bytes(10, "big")
    assert uuid7(0x017F22E279B0, random) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_any_uuid7_is_one(now_ms, random):
    made = uuid.UUID(uuid7(now_ms, random))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == now_ms
    assert parse_message_id(str(made)) == str(made)


@given(st.integers(0, 2**48 - 2), st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_later_uuids_sort_later(now_ms, one, other):
    assert uuid7(now_ms, one) < uuid7(now_ms + 1, other)


def test_all_74_random_bits_are_used():
    made = {uuid7(0, (1 << bit).to_bytes(10, "big")) for bit in range(74)}
    assert len(made) == 74
    assert uuid7(0, b"\0" * 10) not in made


@pytest.mark.parametrize(("now_ms", "random"), [(-1, b"\0" * 10), (2**48, b"\0" * 10), (0, b"\0" * 9), (0, b"\0" * 11)])
def test_what_makes_no_uuid(now_ms, random):
    with pytest.raises(ValueError, match="expected"):
        uuid7(now_ms, random)

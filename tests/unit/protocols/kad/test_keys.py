from __future__ import annotations

import base64

import base58
import pytest

from nexusd_protocols import limits, varint
from nexusd_protocols.kad.keys import content_key, record_key
from tests.harness.kad import PROVIDED, PROVIDED_KEY


def cid(multihash: bytes, version: int = 1) -> bytes:
    return varint.encode(version) + varint.encode(0x55) + multihash


def base32(raw: bytes) -> str:
    return "b" + base64.b32encode(raw).decode().lower().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        PROVIDED,
        base32(cid(PROVIDED_KEY)),
        "z" + base58.b58encode(cid(PROVIDED_KEY)).decode(),
        "f" + cid(PROVIDED_KEY).hex(),
        base58.b58encode(PROVIDED_KEY).decode(),
    ],
)
def test_every_form_of_a_cid_names_the_same_content(text):
    assert content_key(text) == PROVIDED_KEY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "hello",
        "Qm",
        "b" + PROVIDED[1:].upper(),
        PROVIDED[:-8],
        PROVIDED + "aaaaaaaa",
        base32(cid(PROVIDED_KEY, version=2)),
        base32(cid(b"\x12\x04abcd")),
        base32(cid(b"\x00\x60" + b"x" * 96)),
        "f" + cid(PROVIDED_KEY).hex()[:-1],
        "m" + PROVIDED[1:],
        "b" + "a" * 200,
    ],
)
def test_what_is_not_a_cid(text):
    with pytest.raises(ValueError, match="not a CID"):
        content_key(text)


def test_records_have_a_namespace_and_a_name():
    assert record_key("/nexus/x", "nexus") == b"/nexus/x"
    for bad in ("/nexus/", "/nexus", "/pk/x", "nexus/x", "", "/nexus/" + "x" * limits.KAD_KEY_BYTES):
        with pytest.raises(ValueError, match="key"):
            record_key(bad, "nexus")

"""Values that have a DAG-CBOR, and bytes that are none."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from nexusd_protocols.content.cid import DAG_CBOR, RAW, Cid

CID = Cid.of(RAW, b"hello")
LINK = bytes.fromhex("d82a5825") + b"\x00" + CID.encode()
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.text(max_size=20)
    | st.binary(max_size=40)
    | st.builds(Cid.of, st.sampled_from([RAW, DAG_CBOR]), st.binary(max_size=4))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=30,
)


def nested(depth: int) -> bytes:
    return b"\x81" * depth + b"\x00"


REFUSED = {
    "nothing": (b"", "truncated"),
    "a list that ends early": (b"\x82\x00", "truncated"),
    "text that ends early": (b"\x63ab", "truncated"),
    "a length that ends early": (b"\x19\x01", "truncated"),
    "text of 2^64 - 1 bytes": (b"\x7b" + b"\xff" * 8, "truncated"),
    "trailing bytes": (b"\x00\x00", "trailing_bytes"),
    "a long integer": (b"\x18\x17", "long_integer"),
    "a longer integer": (b"\x19\x00\xff", "long_integer"),
    "a still longer integer": (b"\x1a\x00\x00\xff\xff", "long_integer"),
    "the longest integer": (b"\x1b\x00\x00\x00\x00\xff\xff\xff\xff", "long_integer"),
    "a long negative integer": (b"\x38\x00", "long_integer"),
    "a long length": (b"\x78\x01a", "long_integer"),
    "a long tag": (b"\xd9\x00\x2a" + LINK[2:], "long_integer"),
    "an indefinite list": (b"\x9f\x00\xff", "indefinite_length"),
    "an indefinite map": (b"\xbf\xff", "indefinite_length"),
    "indefinite bytes": (b"\x5f\x41a\xff", "indefinite_length"),
    "indefinite text": (b"\x7f\x61a\xff", "indefinite_length"),
    "a break by itself": (b"\xff", "indefinite_length"),
    "a float": (b"\xfb" + struct.pack(">d", 1.5), "float"),
    "a short float": (b"\xfa" + struct.pack(">f", 1.5), "float"),
    "a half float": (b"\xf9\x3e\x00", "float"),
    "not a number": (b"\xfb" + struct.pack(">d", float("nan")), "float"),
    "a date": (b"\xc1\x00", "bad_tag"),
    "a big integer": (b"\xc2\x41\x01", "bad_tag"),
    "a shared value": (b"\xd8\x1c\x80", "bad_tag"),
    "a link of text": (b"\xd8\x2a\x61a", "bad_link"),
    "a link without its zero": (b"\xd8\x2a\x58\x24" + CID.encode(), "bad_link"),
    "a link that is no CID": (b"\xd8\x2a\x42\x00\x01", "bad_link"),
    "an empty link": (b"\xd8\x2a\x40", "bad_link"),
    "a link of nothing": (b"\xd8\x2a", "truncated"),
    "a key that is a number": (b"\xa1\x00\x00", "bad_key"),
    "a key that is bytes": (b"\xa1\x41a\x00", "bad_key"),
    "a key that is a map": (b"\xa1\xa0\x00", "bad_key"),
    "unsorted keys": (b"\xa2\x61b\x00\x61a\x00", "unsorted_keys"),
    "keys sorted as a dictionary is": (b"\xa2\x62aa\x00\x61b\x00", "unsorted_keys"),
    "a key twice": (b"\xa2\x61a\x00\x61a\x01", "duplicate_key"),
    "text that is not UTF-8": (b"\x61\xff", "bad_text"),
    "text with a surrogate": (b"\x63\xed\xa0\x80", "bad_text"),
    "undefined": (b"\xf7", "bad_simple"),
    "a simple value": (b"\xe0", "bad_simple"),
    "a simple value in two bytes": (b"\xf8\xff", "bad_simple"),
    "null in two bytes": (b"\xf8\x16", "bad_simple"),
    "a reserved length": (b"\x1c", "bad_simple"),
    "33 levels": (nested(33), "too_deep"),
    "2,000 levels": (nested(2000), "too_deep"),
    "2,000 levels of maps": (b"\xa1\x60" * 2000 + b"\x00", "too_deep"),
    "a million levels": (nested(1_000_000), "too_deep"),
    "a list of 2^64 - 1": (b"\x9b" + b"\xff" * 8, "too_many_items"),
    "a map of 2^63": (b"\xbb\x80" + b"\x00" * 7, "too_many_items"),
    "65,536 in a list": (b"\x99\xff\xff" + b"\x00" * 65_535 + b"", None),
    "65,537 in a list": (b"\x9a\x00\x01\x00\x00" + b"\x00" * 65_536, "too_many_items"),
    "over 2 MiB": (b"\x5a\x00\x20\x00\x00" + b"\x00" * (2 << 20), "too_large"),
}

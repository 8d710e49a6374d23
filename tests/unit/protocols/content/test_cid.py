from __future__ import annotations

import hashlib

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import multibase
from nexusd_protocols.content.cid import DAG_CBOR, DAG_PB, RAW, Cid

EMPTY_FILE = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
EMPTY_DIRECTORY = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"

cids = st.builds(
    Cid,
    st.one_of(st.sampled_from([RAW, DAG_PB, DAG_CBOR]), st.integers(0, (1 << 63) - 1)),
    st.binary(min_size=32, max_size=32),
) | st.builds(Cid, st.just(DAG_PB), st.binary(min_size=32, max_size=32), st.just(0))


def test_names_that_everybody_knows():
    assert str(Cid.of(RAW, b"")) == EMPTY_FILE
    directory = Cid.of(DAG_PB, bytes.fromhex("0a020801"))
    assert str(Cid(DAG_PB, directory.digest, 0)) == EMPTY_DIRECTORY
    assert Cid.parse(EMPTY_DIRECTORY).digest == directory.digest
    assert Cid.parse(EMPTY_DIRECTORY) != directory  # the same block under two names


@given(cids)
def test_a_cid_comes_back_from_each_of_its_forms(cid):
    assert Cid.decode(cid.encode()) == cid
    assert Cid.parse(str(cid)) == cid
    if cid.version == 1:
        for base in "bzfk":
            assert Cid.parse(multibase.encode(base, cid.encode())) == cid


@given(st.binary(max_size=200))
def test_it_names_its_bytes_and_no_others(data):
    cid = Cid.of(RAW, data)
    assert cid.digest == hashlib.sha256(data).digest()
    assert cid.verifies(data)
    assert not cid.verifies(data + b"!")


def binary(version: int = 1, codec: int = RAW, code: int = 0x12, digest: bytes = b"d" * 32, length: int = 32) -> bytes:
    return bytes((version, codec, code, length)) + digest


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "varint"),
        (binary()[:-1], "32 bytes"),
        (binary() + b"!", "32 bytes"),
        (binary(version=2), "versions"),
        (binary(version=0), "versions"),
        (binary(code=0x13), "unsupported hash"),
        (binary(code=0x00), "unsupported hash"),
        (binary(digest=b"d" * 20, length=20), "32 bytes"),
        (b"\x12\x20" + b"d" * 31, "versions"),
        (b"\x81\x00" + binary()[1:], "longer than it needs"),
        (b"\x01" + b"\xff" * 20, "varint"),
    ],
)
def test_bytes_that_are_no_cid(raw, why):
    with pytest.raises(ValueError, match=why):
        Cid.decode(raw)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "hello",
        "Qm",
        EMPTY_FILE.upper(),
        EMPTY_FILE[:-1],
        EMPTY_FILE + "a",
        EMPTY_FILE + " ",
        EMPTY_FILE[:-1] + "v",  # the same bytes, with unused bits set
        "b" + "a" * 58,
        "f " + Cid.parse(EMPTY_FILE).encode().hex(),
        "f" + Cid.parse(EMPTY_FILE).encode().hex().upper(),
        "m" + EMPTY_FILE[1:],
        EMPTY_DIRECTORY + "1",
        "1" + EMPTY_DIRECTORY,
        "z" + EMPTY_DIRECTORY,  # version 0 has no multibase
        multibase.encode("b", b"\x12\x20" + b"d" * 32),
        "Qm" + base58.b58encode(b"\x12\x20" + b"d" * 30).decode(),
        "b" * 100_000,
        "k" + "é" * 40,
    ],
)
def test_text_that_is_no_cid(text):
    with pytest.raises(ValueError, match="CID"):
        Cid.parse(text)


@pytest.mark.parametrize(("text", "base"), [("foo", "base16"), ("bafybeixxx", "base32"), ("z0", "base58btc")])
def test_of_a_word_it_is_said_which_base_it_is_not(text, base):
    with pytest.raises(ValueError, match=f"^not a CID: it is not whole, or not {base}"):
        Cid.parse(text)


@pytest.mark.parametrize(
    "fields", [(RAW, b"short"), (RAW, b"d" * 32, 0), (DAG_PB, b"d" * 32, 2), (-1, b"d" * 32), (1 << 63, b"d" * 32)]
)
def test_what_no_cid_can_be(fields):
    with pytest.raises(ValueError, match=r"32 bytes|version|codec"):
        Cid(*fields)


def test_codecs_have_names():
    assert Cid.of(RAW, b"").codec_name == "raw"
    assert Cid.of(0x0300, b"").codec_name == "0x300"

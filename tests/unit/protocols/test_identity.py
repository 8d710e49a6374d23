"""PeerIds and signatures."""

from __future__ import annotations

import base58
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols.identity import (
    Signer,
    parse_peer_id,
    peer_id_bytes,
    peer_id_from_bytes,
    peer_id_of,
    public_key_of,
    verify,
)
from tests.harness.people import ALICE, BOB

# RFC 8032 §7.1, test 1
RFC_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC_KEY = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
RFC_SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)


def test_the_vector_of_rfc_8032():
    signer = Signer(RFC_SEED)
    assert public_key_of(signer.peer_id) == RFC_KEY
    assert signer.sign(b"") == RFC_SIGNATURE
    assert verify(signer.peer_id, b"", RFC_SIGNATURE)


def test_py_libp2p_derives_the_same_peer_id():
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.peer.id import ID

    theirs = ID.from_pubkey(create_new_key_pair(RFC_SEED).public_key)
    signer = Signer(RFC_SEED)
    assert signer.peer_id == theirs.to_base58()
    assert peer_id_bytes(signer.peer_id) == theirs.to_bytes()


@given(st.binary(min_size=32, max_size=32))
def test_any_key_has_a_peer_id_and_back(key):
    peer = peer_id_of(key)
    assert peer.startswith("12D3KooW")
    assert parse_peer_id(peer) == peer
    assert public_key_of(peer) == key
    assert base58.b58decode(peer) == peer_id_bytes(peer)
    assert peer_id_from_bytes(peer_id_bytes(peer)) == peer


@pytest.mark.parametrize(
    "raw", [b"", b"\x00" * 38, peer_id_bytes(ALICE.peer_id)[:-1], peer_id_bytes(ALICE.peer_id) + b"x"]
)
def test_bytes_that_are_no_peer_id(raw):
    with pytest.raises(ValueError, match=r"not the PeerId"):
        peer_id_from_bytes(raw)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x" * 65,
        "x" * 1_000_000,
        "hello",
        "12D3KooW",
        "0OIl",
        "é" * 52,
        "\ud800",
        "12D3KooW\x00",
        " " + ALICE.peer_id,
        ALICE.peer_id + "\n",
        ALICE.peer_id[:-1],
        ALICE.peer_id + "1",
        "1" + ALICE.peer_id,
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",  # the hash of an RSA key
        base58.b58encode(bytes.fromhex("002508021221") + b"\x02" * 33).decode(),  # secp256k1
        "bafzaajaiaejcbrtoozcuvhofcdvvuqnbxclmhuvdbhoolrlrkkjytlpgfjmsxbjg",  # the CID form, which we do not write
    ],
)
def test_what_is_no_peer_id(text):
    with pytest.raises(ValueError, match=r"."):
        parse_peer_id(text)


@given(st.text(max_size=80))
def test_any_text_is_a_peer_id_or_refused(text):
    try:
        peer = parse_peer_id(text)
    except ValueError:
        return
    assert peer_id_of(public_key_of(peer)) == text


@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys_have_32_bytes(size):
    with pytest.raises(ValueError, match="32 bytes"):
        peer_id_of(b"\0" * size)
    with pytest.raises(ValueError, match=r"."):
        Signer(b"\0" * size)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_signing_is_deterministic_and_verifies(message):
    signature = ALICE.sign(message)
    assert len(signature) == 64
    assert signature == ALICE.sign(message)
    assert verify(ALICE.peer_id, message, signature)
    assert not verify(BOB.peer_id, message, signature)
    assert not verify(ALICE.peer_id, message + b"x", signature)


@given(st.binary(min_size=1, max_size=50), st.data())
@settings(deadline=None)
def test_signature_and_message_cannot_be_split_elsewhere(message, data):
    whole = ALICE.sign(message) + message
    at = data.draw(st.integers(0, len(whole)).filter(lambda at: at != 64))
    assert not verify(ALICE.peer_id, whole[at:], whole[:at])


@pytest.mark.parametrize("peer", ["", "nobody", "é"])
def test_nobody_signs_nothing(peer):
    assert not verify(peer, b"x", ALICE.sign(b"x"))


def test_keys_that_sign_everything_are_refused():
    # a public key of small order: with an all-zero scalar such a signature holds for any message in a lax verifier
    weak = peer_id_of(b"\x01" + b"\0" * 31)
    assert not verify(weak, b"anything", b"\x01" + b"\0" * 63)


def test_the_key_does_not_show():
    assert ALICE.seed().hex() not in repr(ALICE)
    assert repr(ALICE) == f"Signer({ALICE.peer_id})"
    assert Signer(ALICE.seed()).peer_id == ALICE.peer_id

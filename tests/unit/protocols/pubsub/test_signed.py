"""Signed pubsub messages against specs/pubsub.md, the vectors and py-libp2p's own signer."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import Signer, peer_id_bytes
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.examples import examples
from tests.harness.people import ALICE, BOB
from tests.harness.vectors import named, vectors

VECTORS = vectors("pubsub")
TOPIC = "/nexus/room/general"

messages = st.builds(
    SignedMessage.sign,
    st.sampled_from([ALICE, BOB]),
    st.text(min_size=1, max_size=60).filter(
        lambda text: text.encode("utf-8", "replace") == text.encode("utf-8", "surrogatepass")
    ),
    st.binary(min_size=1, max_size=200),
    st.integers(0, 2**64 - 1),
)


@pytest.mark.parametrize("row", **named(VECTORS["messages"]))
def test_a_golden_message(row):
    signer = Signer(bytes.fromhex(row["seed"]))
    message = SignedMessage.sign(signer, row["topic"], row["data"].encode(), int(row["seqno"]))

    assert message.sender == row["sender"]
    assert message.signature.hex() == row["signature"]
    assert message.encode().hex() == row["encoded"]
    assert message.digest.hex() == row["digest"]
    assert message.wire_id().hex() == row["wireId"]
    assert message.verify()
    assert SignedMessage.decode(message.encode()) == message


@pytest.mark.parametrize("row", **named(VECTORS["refused"]))
def test_a_refused_encoding(row):
    with pytest.raises(RemoteProtocolError) as caught:
        SignedMessage.decode(bytes.fromhex(row["encoded"]))
    assert caught.value.code == row["code"]
    assert caught.value.penalty == 10


@pytest.mark.parametrize("row", **named(VECTORS["forged"]))
def test_a_forged_message_decodes_and_does_not_verify(row):
    assert not SignedMessage.decode(bytes.fromhex(row["encoded"])).verify()


@given(messages)
@settings(deadline=None)
def test_encoding_and_decoding_are_inverse(message):
    assert SignedMessage.decode(message.encode()) == message
    assert message.verify()


@given(messages, st.data())
@settings(deadline=None)
def test_a_changed_byte_is_refused_or_does_not_verify(message, data):
    raw = bytearray(message.encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        changed = SignedMessage.decode(bytes(raw))
    except RemoteProtocolError:
        return
    assert changed != message
    assert not changed.verify()


@given(messages)
@settings(deadline=None, max_examples=examples(50))
def test_py_libp2p_signs_the_same_bytes_and_accepts_ours(message):
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.pubsub.pb import rpc_pb2
    from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX, signature_validator

    theirs = rpc_pb2.Message()
    theirs.ParseFromString(message.encode())
    assert signature_validator(theirs)

    signer = ALICE if message.sender == ALICE.peer_id else BOB
    unsigned = rpc_pb2.Message(
        data=message.data, topicIDs=[message.topic], from_id=peer_id_bytes(message.sender), seqno=message.seqno
    )
    key = create_new_key_pair(signer.seed())
    assert key.private_key.sign(PUBSUB_SIGNING_PREFIX.encode() + unsigned.SerializeToString()) == message.signature
    # as py-libp2p publishes it: with the key
    built = SignedMessage.from_fields(
        from_id=unsigned.from_id,
        data=unsigned.data,
        seqno=unsigned.seqno,
        topic_ids=list(unsigned.topicIDs),
        signature=message.signature,
        key=key.public_key.serialize(),
    )
    assert built == message


def fields(**changed):
    message = SignedMessage.sign(ALICE, TOPIC, b"{}", 1)
    return {
        "from_id": peer_id_bytes(ALICE.peer_id),
        "data": message.data,
        "seqno": message.seqno,
        "topic_ids": [TOPIC],
        "signature": message.signature,
    } | changed


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"from_id": b""}, "bad_sender"),
        ({"from_id": b"\x00" * 38}, "bad_sender"),
        ({"key": b"garbage"}, "bad_key"),
        ({"key": b"\x08\x01\x12\x20" + peer_id_bytes(BOB.peer_id)[6:]}, "bad_key"),
        ({"seqno": b""}, "bad_seqno"),
        ({"seqno": b"\0" * 9}, "bad_seqno"),
        ({"topic_ids": []}, "bad_topic"),
        ({"topic_ids": [TOPIC, TOPIC]}, "bad_topic"),
        ({"topic_ids": [""]}, "bad_topic"),
        ({"topic_ids": ["\ud800"]}, "bad_topic"),
        ({"topic_ids": [b"\xff"]}, "bad_topic"),
        ({"topic_ids": ["t" * (limits.TOPIC_BYTES + 1)]}, "bad_topic"),
        ({"signature": b""}, "bad_signature"),
        ({"signature": b"\0" * 65}, "bad_signature"),
        ({"data": b""}, "empty"),
        ({"data": b"x" * (limits.ROOM_MESSAGE_BYTES + 1)}, "too_large"),
    ],
)
def test_refused_fields(changed, code):
    with pytest.raises(RemoteProtocolError) as caught:
        SignedMessage.from_fields(**fields(**changed))
    assert caught.value.code == code


def test_the_largest_message_and_one_byte_more():
    message = SignedMessage.sign(ALICE, "t" * limits.TOPIC_BYTES, b"x" * limits.ROOM_MESSAGE_BYTES, 2**64 - 1)
    assert SignedMessage.decode(message.encode()) == message

    with pytest.raises(RemoteProtocolError) as caught:
        SignedMessage.decode(msgspec.structs.replace(message, data=message.data + b"x").encode())
    assert caught.value.code == "too_large"
    with pytest.raises(RemoteProtocolError) as caught:
        SignedMessage.decode(b"\x12" * 10_000_000)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    ("topic", "data", "seqno"),
    [
        ("", b"x", 1),
        ("\ud800", b"x", 1),
        ("t" * 257, b"x", 1),
        (TOPIC, b"", 1),
        (TOPIC, b"x" * (limits.ROOM_MESSAGE_BYTES + 1), 1),
        (TOPIC, b"x", -1),
        (TOPIC, b"x", 2**64),
    ],
)
def test_what_is_never_signed(topic, data, seqno):
    with pytest.raises(ValueError, match=r"."):
        SignedMessage.sign(ALICE, topic, data, seqno)


def test_a_payload_too_deep_to_read_is_named_by_its_digest():
    message = SignedMessage.sign(ALICE, TOPIC, b'{"id":"x","a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", 1)
    assert message.wire_id() == message.digest

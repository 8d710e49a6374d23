"""Noise messages after the handshake."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.errors import FLOOD, LimitExceededError, RemoteProtocolError
from nexusd_protocols.noise.transport import NoiseTransport
from tests.harness.vectors import named, vectors

ALICE_KEY, BOB_KEY = bytes(range(32)), bytes(range(32, 64))
FULL = limits.NOISE_TEXT_BYTES


def pair() -> tuple[NoiseTransport, NoiseTransport]:
    return NoiseTransport(ALICE_KEY, BOB_KEY), NoiseTransport(BOB_KEY, ALICE_KEY)


def sealed(nonce: int, text: bytes, key: bytes = ALICE_KEY) -> bytes:
    """A message made by hand."""
    body = ChaCha20Poly1305(key).encrypt(bytes(4) + nonce.to_bytes(8, "little"), text, None)
    return len(body).to_bytes(2, "big") + body


def refused(transport: NoiseTransport, octets: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        transport.receive(octets)
    return caught.value


@pytest.mark.parametrize("case", **named(vectors("noise")["messages"]))
def test_vectors_of_messages(case):
    key = bytes.fromhex(vectors("noise")["key"])
    text, wire = bytes.fromhex(case["text"]), bytes.fromhex(case["wire"])
    assert NoiseTransport(key, BOB_KEY, send_nonce=case["nonce"]).send(text) == wire
    assert NoiseTransport(BOB_KEY, key, receive_nonce=case["nonce"]).receive(wire) == [text]


@pytest.mark.parametrize("case", **named(vectors("noise")["refused"]))
def test_vectors_of_what_is_refused(case):
    key = bytes.fromhex(vectors("noise")["key"])
    transport = NoiseTransport(BOB_KEY, key, receive_nonce=case["nonce"])
    error = refused(transport, bytes.fromhex(case["wire"]))
    assert (error.code, error.penalty) == (case["code"], case["penalty"])


@given(st.lists(st.binary(max_size=300), max_size=10), st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_what_one_side_sends_the_other_reads_however_it_is_cut(texts, cuts):
    alice, bob = pair()
    wire = b"".join(bytes(alice.send(text)) for text in texts) + bytes(alice.send(*texts))
    received = []
    while wire:
        size = cuts[len(wire) % len(cuts)]
        received += bob.receive(wire[:size])
        wire = wire[size:]
    bob.receive_eof()
    assert received == [text for text in texts * 2 if text]


@pytest.mark.parametrize("size", [1, FULL - 1, FULL, FULL + 1, 3 * FULL, 3 * FULL + 5])
def test_long_texts_take_as_few_messages_as_may_be(size):
    alice, bob = pair()
    text = bytes(i % 251 for i in range(size))
    wire = alice.send(memoryview(text))
    messages = -(-size // FULL)
    assert len(wire) == size + 18 * messages
    received = bob.receive(bytes(wire))
    assert len(received) == messages
    assert b"".join(received) == text
    assert len(received[0]) == min(size, FULL)


def test_several_texts_go_in_one_piece():
    alice, bob = pair()
    assert bob.receive(bytes(alice.send(b"one", b"", b"two", bytes(FULL + 1)))) == [b"one", b"two", bytes(FULL), b"\0"]
    assert alice.send() == alice.send(b"") == b""
    assert bob.receive(bytes(alice.send(b"three"))) == [b"three"]


def test_both_directions_count_by_themselves():
    alice, bob = pair()
    for _ in range(3):
        assert bob.receive(bytes(alice.send(b"ping"))) == [b"ping"]
    assert alice.receive(bytes(bob.send(b"pong"))) == [b"pong"]


def test_an_empty_message_is_nothing():
    _, bob = pair()
    assert bob.receive(sealed(0, b"") + sealed(1, b"x")) == [b"x"]
    empty = sealed(2, b"")
    assert bob.receive(empty[:5]) == []
    assert bob.receive(empty[5:] + sealed(3, b"y")) == [b"y"]


def test_empty_messages_without_end():
    _, bob = pair()
    most = limits.NOISE_EMPTY_MESSAGES
    assert bob.receive(b"".join(sealed(n, b"") for n in range(most)) + sealed(most, b"x")) == [b"x"]
    assert bob.receive(b"".join(sealed(n, b"") for n in range(most + 1, 2 * most + 1))) == []
    error = refused(bob, sealed(2 * most + 1, b""))
    assert (error.code, error.penalty) == ("too_many_empty_messages", FLOOD)


@pytest.mark.parametrize("length", [0, 1, 15])
def test_a_message_shorter_than_its_tag(length):
    wire = length.to_bytes(2, "big") + bytes(length)
    for first in (0, 1, len(wire) - 1):
        _, bob = pair()
        bob.receive(wire[:first])
        error = refused(bob, wire[first:])
        assert (error.code, error.penalty) == ("short_message", 10)


@pytest.mark.parametrize("place", [0, 5, 20, -1])
def test_a_changed_octet_is_noticed_and_ends_it(place):
    _, bob = pair()
    good, bad = sealed(0, b"good"), bytearray(sealed(1, b"0123456789"))
    body = bytearray(bad[2:])
    body[place] ^= 1
    error = refused(bob, good + bad[:2] + body)
    assert (error.code, error.penalty) == ("bad_tag", 1)
    assert bob.receive(sealed(2, b"more")) == []
    bob.receive_eof()


@pytest.mark.parametrize(
    "wire",
    [sealed(1, b"skipped one"), sealed(0, b"x", BOB_KEY), sealed(0, b"again") * 2],
    ids=["out of order", "of another key", "replayed"],
)
def test_a_message_that_is_not_the_next(wire):
    _, bob = pair()
    assert refused(bob, wire).code == "bad_tag"


def test_the_connection_ends_within_a_message():
    _, bob = pair()
    bob.receive(sealed(0, b"whole") + b"\0")
    with pytest.raises(RemoteProtocolError) as caught:
        bob.receive_eof()
    assert caught.value.code == "cut_short"
    bob.receive_eof()
    assert bob.receive(sealed(1, b"x")) == []


def test_nonces_run_out():
    last = 2**64 - 2
    alice = NoiseTransport(ALICE_KEY, BOB_KEY, send_nonce=last)
    with pytest.raises(LimitExceededError) as caught:
        alice.send(bytes(FULL + 1))
    assert caught.value.limit == "nonce"
    assert alice.send(b"last") == sealed(last, b"last")
    with pytest.raises(LimitExceededError):
        alice.send(b"one too many")
    bob = NoiseTransport(BOB_KEY, ALICE_KEY, receive_nonce=last)
    assert bob.receive(sealed(last, b"last")) == [b"last"]
    assert refused(bob, sealed(2**64 - 1, b"one too many")).code == "nonce_exhausted"


def test_no_more_than_one_message_is_held():
    _, bob = pair()
    alice, _ = pair()
    wire = bytes(alice.send(bytes(10 * FULL)))
    for start in range(0, len(wire), 1000):
        bob.receive(wire[start : start + 1000])
        assert len(bob._partial) <= limits.NOISE_MESSAGE_BYTES + 2


def test_it_continues_a_handshake_of_another_implementation():
    from noise.connection import Keypair, NoiseConnection

    sides = []
    for number, role in enumerate(("set_as_initiator", "set_as_responder")):
        side = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256")
        getattr(side, role)()
        side.set_keypair_from_private_bytes(Keypair.STATIC, bytes([number + 1]) * 32)
        side.start_handshake()
        sides.append(side)
    dialer, listener = sides
    listener.read_message(dialer.write_message())
    dialer.read_message(listener.write_message())
    listener.read_message(dialer.write_message())
    protocol = listener.noise_protocol
    ours = NoiseTransport(
        bytes(protocol.cipher_state_encrypt.k),
        bytes(protocol.cipher_state_decrypt.k),
        send_nonce=protocol.cipher_state_encrypt.n,
        receive_nonce=protocol.cipher_state_decrypt.n,
    )
    for number in range(3):
        text = b"message %d" % number
        theirs = dialer.encrypt(text)
        assert ours.receive(len(theirs).to_bytes(2, "big") + theirs) == [text]
        assert dialer.decrypt(bytes(ours.send(text))[2:]) == text

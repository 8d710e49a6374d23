"""PeerIds and Ed25519 signatures.

A PeerId is the base58btc text of the identity multihash (0x00 0x24) of a libp2p `PublicKey` protobuf
(libp2p peer-ids spec); for Ed25519 the key is inside it, so a signature by a PeerId verifies with nothing else at hand.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NewType

import base58
import nacl.bindings
import nacl.exceptions
import nacl.signing

PeerId = NewType("PeerId", str)
"""Text form, such as `12D3KooW…`. Make one only through `parse_peer_id` or `peer_id_of`."""

AgentId = NewType("AgentId", str)
"""Who talks. It has PeerId form; the first agent of a node has the node's own."""

# identity multihash of 36 bytes; PublicKey{Type=Ed25519(1), Data=32 bytes}
_ED25519_PREFIX: Final = bytes.fromhex("002408011220")
_MAX_PEER_ID_CHARS: Final = 64


def parse_peer_id(text: str) -> PeerId:
    """Check an Ed25519 PeerId and return it. Raises ValueError, saying what is wrong with it."""
    public_key_of(text)
    return PeerId(text)


@lru_cache(maxsize=4096)  # asked for with every message of a peer; faults are not remembered
def public_key_of(peer: str) -> bytes:
    """The 32 bytes of the Ed25519 key inside a PeerId. Raises ValueError."""
    if not 0 < len(peer) <= _MAX_PEER_ID_CHARS:
        raise ValueError("not a PeerId: wrong length")
    try:
        raw = base58.b58decode(peer)
    except ValueError as error:
        raise ValueError("not a PeerId: not base58") from error
    if len(raw) != 38 or not raw.startswith(_ED25519_PREFIX):
        raise ValueError("not a PeerId of an Ed25519 key")
    if base58.b58encode(raw).decode() != peer:
        raise ValueError("not a PeerId: not in canonical form")
    return bytes(raw[6:])


def peer_id_of(public_key: bytes) -> PeerId:
    """The PeerId of a 32-byte Ed25519 public key."""
    if len(public_key) != 32:
        raise ValueError("an Ed25519 public key has 32 bytes")
    return PeerId(base58.b58encode(_ED25519_PREFIX + public_key).decode())


def peer_id_bytes(peer: PeerId) -> bytes:
    """The 38 bytes that protobuf messages carry."""
    return _ED25519_PREFIX + public_key_of(peer)


@lru_cache(maxsize=4096)  # the author of every message
def peer_id_from_bytes(raw: bytes) -> PeerId:
    """The inverse of `peer_id_bytes`. Raises ValueError for the id of another kind of key."""
    if len(raw) != 38 or not raw.startswith(_ED25519_PREFIX):
        raise ValueError("not the PeerId of an Ed25519 key")
    return PeerId(base58.b58encode(raw).decode())


def verify(peer: str, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) is `peer`'s over `message`; False for whatever is malformed."""
    if len(signature) != nacl.bindings.crypto_sign_BYTES:
        return False  # the library takes both in one piece, and would not see where one ends
    try:
        nacl.bindings.crypto_sign_open(signature + message, public_key_of(peer))
    except (ValueError, nacl.exceptions.CryptoError):
        return False
    return True


class Signer:
    """An Ed25519 key that signs for one PeerId. Its text form never shows the key."""

    def __init__(self, seed: bytes) -> None:
        self._key = nacl.signing.SigningKey(seed)
        self.peer_id: Final[PeerId] = peer_id_of(bytes(self._key.verify_key))

    def sign(self, message: bytes) -> bytes:
        """64 bytes; the same message gives the same signature (RFC 8032)."""
        return self._key.sign(message).signature

    def seed(self) -> bytes:
        """The 32 secret bytes, for the key file and the transport; never for a log."""
        return bytes(self._key)

    def __repr__(self) -> str:
        return f"Signer({self.peer_id})"

"""A pubsub message with its author's signature: what GossipSub carries and what a room's history keeps.

    author:   SignedMessage.sign(key, topic, data, seqno) -> encode() -> mesh, history
    receiver: SignedMessage.from_fields(…) or decode(…) -> verify() -> wire_id(), digest

Only the StrictSign policy exists here (specs/pubsub.md; libp2p specs, pubsub/README.md "Message signing"): sender,
sequence number and signature are always present. The public key is never carried, because it is inside the PeerId.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from nexusd_protocols import limits, ndjson
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId, Signer, peer_id_bytes, peer_id_from_bytes, public_key_of, verify
from nexusd_protocols.pubsub import rpc_pb2

SIGNING_PREFIX: Final = b"libp2p-pubsub:"
NEXUS_TOPICS: Final = "/nexus/"

_SEQNO_BYTES: Final = 8
_SIGNATURE_BYTES: Final = 64
# tags, lengths and the fixed fields of a message come to less than this
_OVERHEAD_BYTES: Final = 256
# libp2p PublicKey{Type=Ed25519(1), Data=32 bytes}, before the 32 bytes
_PUBLIC_KEY_PREFIX: Final = bytes.fromhex("08011220")


class _Named(msgspec.Struct, frozen=True):
    id: str


_named: Final = msgspec.json.Decoder(_Named)


class SignedMessage(msgspec.Struct, frozen=True):
    """One message of one author on one topic.

    `seqno` has 8 bytes and differs for each message of a sender; published peers draw it at random. `signature` has
    64 bytes and may be wrong until `verify` said otherwise.
    """

    sender: PeerId
    data: bytes
    seqno: bytes
    topic: str
    signature: bytes

    @classmethod
    def sign(cls, signer: Signer, topic: str, data: bytes, seqno: int) -> SignedMessage:
        """Make and sign a message. Raises ValueError for what no receiver would take: no data or too much of it, a
        topic without a name, a sequence number beyond 64 bits."""
        if not 0 <= seqno < 1 << 64:
            raise ValueError("a sequence number has 64 bits")
        number = seqno.to_bytes(_SEQNO_BYTES, "big")
        if fault := _fault(topic, data, limits.ROOM_MESSAGE_BYTES):
            raise ValueError(fault[1])
        signature = signer.sign(SIGNING_PREFIX + _signed_part(signer.peer_id, data, number, topic))
        return cls(signer.peer_id, data, number, topic, signature)

    @classmethod
    def from_fields(
        cls,
        *,
        from_id: bytes,
        data: bytes,
        seqno: bytes,
        topic_ids: Sequence[str],
        signature: bytes,
        key: bytes = b"",
        max_data: int = limits.ROOM_MESSAGE_BYTES,
    ) -> SignedMessage:
        """Build one from the fields of a received `Message`, absent ones empty. The signature is not checked here.

        Raises RemoteProtocolError: `bad_sender`, `bad_key`, `bad_seqno`, `bad_topic`, `bad_signature` (its length),
        `empty`, `too_large`.
        """
        try:
            sender = peer_id_from_bytes(from_id)
        except ValueError as error:
            raise RemoteProtocolError("bad_sender", str(error), penalty=10) from error
        if key and key != _PUBLIC_KEY_PREFIX + public_key_of(sender):
            raise RemoteProtocolError("bad_key", "the key is not the sender's", penalty=10)
        if len(seqno) != _SEQNO_BYTES:
            raise RemoteProtocolError("bad_seqno", f"{_SEQNO_BYTES} bytes expected", penalty=10)
        if len(topic_ids) != 1:
            raise RemoteProtocolError("bad_topic", "one topic expected", penalty=10)
        if len(signature) != _SIGNATURE_BYTES:
            raise RemoteProtocolError("bad_signature", f"{_SIGNATURE_BYTES} bytes expected", penalty=10)
        if fault := _fault(topic_ids[0], data, max_data):
            raise RemoteProtocolError(*fault, penalty=10)
        return cls(sender, data, seqno, topic_ids[0], signature)

    @classmethod
    def decode(cls, raw: bytes, *, max_data: int = limits.ROOM_MESSAGE_BYTES) -> SignedMessage:
        """The inverse of `encode`, and of nothing else: another encoding of the same message has another digest, so it
        is refused. Raises RemoteProtocolError as `from_fields`, `bad_protobuf`, `not_canonical`."""
        if len(raw) > max_data + limits.TOPIC_BYTES + _OVERHEAD_BYTES:
            raise RemoteProtocolError("too_large", f"over {max_data} bytes of data", penalty=10)
        try:
            fields = rpc_pb2.Message.FromString(raw)
        except DecodeError as error:
            raise RemoteProtocolError("bad_protobuf", str(error), penalty=10) from error
        message = cls.from_fields(
            from_id=fields.from_id,
            data=fields.data,
            seqno=fields.seqno,
            topic_ids=[fields.topic] if fields.HasField("topic") else [],
            signature=fields.signature,
            max_data=max_data,
        )
        if message.encode() != raw:
            raise RemoteProtocolError("not_canonical", "other bytes than the encoding of its fields", penalty=10)
        return message

    def encode(self) -> bytes:
        """Canonical protobuf: from, data, seqno, topic, signature in the order of their numbers, nothing else."""
        signed = _signed_part(self.sender, self.data, self.seqno, self.topic)
        # protobuf concatenates: field 5 follows what was signed
        return signed + rpc_pb2.Message(signature=self.signature).SerializeToString()

    def verify(self) -> bool:
        """Whether the sender signed exactly these fields."""
        signed = _signed_part(self.sender, self.data, self.seqno, self.topic)
        return verify(self.sender, SIGNING_PREFIX + signed, self.signature)

    @property
    def digest(self) -> bytes:
        """SHA-256 of `encode()`, 32 bytes: the name of the message in a room's history."""
        return hashlib.sha256(self.encode()).digest()

    def wire_id(self) -> bytes:
        """The message id on the wire. On `/nexus/` topics that of the published network: the UTF-8 of the payload's
        `id` if that is text of 1 to 64 bytes, else the digest. On other topics sender and sequence number, the default
        of libp2p. Anybody can claim an id, so key caches by (sender, wire id)."""
        if not self.topic.startswith(NEXUS_TOPICS):
            return peer_id_bytes(self.sender) + self.seqno
        try:
            name = ndjson.decode(self.data, _named).id.encode()
        except RemoteProtocolError:
            return self.digest
        return name if 0 < len(name) <= limits.MESSAGE_ID_CHARS else self.digest


def _signed_part(sender: PeerId, data: bytes, seqno: bytes, topic: str) -> bytes:
    return rpc_pb2.Message(from_id=peer_id_bytes(sender), data=data, seqno=seqno, topic=topic).SerializeToString()


def _fault(topic: object, data: bytes, max_data: int) -> tuple[str, str] | None:
    """Code and explanation of what is wrong with content, or None."""
    try:
        # protobuf gives bytes where a string on the wire is not UTF-8, whatever its types say
        topic_bytes = len(topic.encode()) if isinstance(topic, str) else 0
    except UnicodeEncodeError:
        topic_bytes = 0
    if not 0 < topic_bytes <= limits.TOPIC_BYTES:
        return "bad_topic", f"a topic is text of 1 to {limits.TOPIC_BYTES} bytes"
    if not data:
        # present and absent data would be two encodings of one message, and no protocol of ours sends nothing
        return "empty", "a message has data"
    if len(data) > max_data:
        return "too_large", f"over {max_data} bytes"
    return None

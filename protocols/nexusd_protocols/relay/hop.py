"""Asking a relay (libp2p specs, relay/circuit-v2.md, "Hop protocol"): one question, one answer.

question = reserve() | connect(peer)
Hop().receive(bytes) -> None | Reserved | Connected | Refused; then `rest` belongs to the relayed connection
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from google.protobuf.message import DecodeError

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId, peer_id_bytes
from nexusd_protocols.relay import circuit_pb2 as pb
from nexusd_protocols.relay.frame import OneFrame, framed

PROTOCOL: Final = "/libp2p/circuit/relay/0.2.0/hop"

_WORDS: Final = {
    pb.RESERVATION_REFUSED: "the relay gives this node no place",
    pb.RESOURCE_LIMIT_EXCEEDED: "the relay is full",
    pb.PERMISSION_DENIED: "the relay does not permit it",
    pb.CONNECTION_FAILED: "the relay cannot reach the peer",
    pb.NO_RESERVATION: "the peer has no place at the relay",
    pb.MALFORMED_MESSAGE: "the relay did not understand the question",
    pb.UNEXPECTED_MESSAGE: "the relay did not expect the question",
}


class Limits(msgspec.Struct, frozen=True):
    """What the relay carries: seconds, and bytes in each direction. 0: without bound."""

    seconds: int = 0
    octets: int = 0


class Reserved(msgspec.Struct, frozen=True):
    """There is a place, until then (unix seconds, as the relay says)."""

    expire: int
    limits: Limits


class Connected(msgspec.Struct, frozen=True):
    """The stream is now a connection to the peer."""

    limits: Limits


class Refused(msgspec.Struct, frozen=True):
    """The relay does not do it. `reason` is fit for a person."""

    status: int
    reason: str


def reserve() -> bytes:
    """The question for a place."""
    return framed(pb.HopMessage(type="RESERVE").SerializeToString())


def connect(peer: PeerId) -> bytes:
    """The question for a connection to a peer that has a place."""
    return framed(pb.HopMessage(type="CONNECT", peer=pb.Peer(id=peer_id_bytes(peer))).SerializeToString())


class Hop:
    """Reads the answer to `asked`."""

    def __init__(self, asked: Literal["reserve", "connect"]) -> None:
        self._asked = asked
        self._frame = OneFrame()

    @property
    def rest(self) -> bytes:
        """What was read beyond the answer."""
        return self._frame.rest

    def receive(self, data: bytes) -> Reserved | Connected | Refused | None:
        """The answer, once it is complete. Raises RemoteProtocolError: `bad_length`, `too_large`, `bad_protobuf`,
        `not_a_status`, `no_reservation`."""
        frame = self._frame.receive(data)
        if frame is None:
            return None
        try:
            message = pb.HopMessage.FromString(frame)
        except DecodeError as error:
            raise RemoteProtocolError("bad_protobuf", str(error), penalty=10) from error
        if message.type != pb.HopMessage.STATUS:
            raise RemoteProtocolError("not_a_status", "the answer is no status", penalty=10)
        if message.status != pb.OK:
            return Refused(message.status, _WORDS.get(message.status, f"the relay says {message.status}"))
        limits = Limits(message.limit.duration, message.limit.data)
        if self._asked == "connect":
            return Connected(limits)
        if not message.HasField("reservation"):
            raise RemoteProtocolError("no_reservation", "a place without an end", penalty=10)
        return Reserved(message.reservation.expire, limits)

"""Being reached through a relay (libp2p specs, relay/circuit-v2.md, "Stop protocol"): the relay asks, we answer.

Stop().receive(bytes) -> None | Incoming; then accept() or refuse(), and `rest` belongs to the relayed connection
"""

from __future__ import annotations

from typing import Final

import base58
import msgspec
from google.protobuf.message import DecodeError

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId, parse_peer_id
from nexusd_protocols.relay import circuit_pb2 as pb
from nexusd_protocols.relay.frame import OneFrame, framed
from nexusd_protocols.relay.hop import Limits

PROTOCOL: Final = "/libp2p/circuit/relay/0.2.0/stop"


class Incoming(msgspec.Struct, frozen=True):
    """Who comes, as the relay says: the handshake on the connection proves it, or not."""

    peer: PeerId
    limits: Limits


class Stop:
    """Reads the relay's question."""

    def __init__(self) -> None:
        self._frame = OneFrame()

    @property
    def rest(self) -> bytes:
        """What was read beyond the question."""
        return self._frame.rest

    def receive(self, data: bytes) -> Incoming | None:
        """The question, once it is complete. Raises RemoteProtocolError, whose reply says so to the relay:
        `bad_length`, `too_large`, `bad_protobuf`, `not_a_connect`, `bad_peer`."""
        try:
            frame = self._frame.receive(data)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(
                error.code, error.detail, reply=refuse(pb.MALFORMED_MESSAGE), penalty=error.penalty
            ) from error
        if frame is None:
            return None
        try:
            message = pb.StopMessage.FromString(frame)
        except DecodeError as error:
            raise _refused("bad_protobuf", str(error), pb.MALFORMED_MESSAGE) from error
        if message.type != pb.StopMessage.CONNECT:
            raise _refused("not_a_connect", "a relay asks for a connection", pb.UNEXPECTED_MESSAGE)
        try:
            peer = parse_peer_id(base58.b58encode(message.peer.id[:64]).decode())
        except ValueError as error:
            raise _refused("bad_peer", str(error), pb.MALFORMED_MESSAGE, penalty=1) from error
        return Incoming(peer, Limits(message.limit.duration, message.limit.data))


def accept() -> bytes:
    """The stream is a connection from now on."""
    return _status(pb.OK)


def refuse(status: int = pb.PERMISSION_DENIED) -> bytes:
    """No connection."""
    return _status(status)


def _status(status: int) -> bytes:
    return framed(pb.StopMessage(type="STATUS", status=pb.Status.Name(status)).SerializeToString())


def _refused(code: str, detail: str, status: int, penalty: int = 10) -> RemoteProtocolError:
    return RemoteProtocolError(code, detail, reply=refuse(status), penalty=penalty)

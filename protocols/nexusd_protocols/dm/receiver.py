"""The end that receives one direct message on a stream. (specs/dm.md §4)"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from nexusd_protocols import agent_proof, limits, ndjson
from nexusd_protocols.dm.frames import PROTOCOL, AckFrame, Code, DmFrame, ErrorFrame, MessageFrame
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.frames import FrameMachine, FrameReader, UnknownFrame, type_of, write
from nexusd_protocols.identity import AgentId, PeerId


class Received(msgspec.Struct, frozen=True):
    """A message. `sender` is verified; `to_agent` is whom it addresses, none for the node's own. The rest is the
    sender's word: untrusted."""

    message_id: str
    content: str
    content_format: str
    sender: AgentId
    to_agent: AgentId | None


class Ack(msgspec.Struct, frozen=True):
    """Command: say that the message is committed. Never before it is. The shell half-closes behind it."""


class Refuse(msgspec.Struct, frozen=True):
    """Command: say that the message was not stored. `code` is one of `frames.Code`."""

    code: str
    message: str = ""


class _State(enum.Enum):
    START = "before the message"
    RECEIVED = "waiting for the verdict"
    ANSWERED = "answered"


_REPLIES = {"content_too_large": Code.TOO_LARGE, "line_too_long": Code.TOO_LARGE, "forged_agent": Code.FORBIDDEN}


def accept(frame: MessageFrame, *, protocol: str, local: PeerId, peer: PeerId, max_content: int) -> Received:
    """What a message says, checked. Raises RemoteProtocolError `content_too_large`, `forged_agent`."""
    if ndjson.json_size(frame.content) > max_content:
        raise RemoteProtocolError("content_too_large", f"over {max_content} bytes")
    verdict = agent_proof.check(
        frame,
        protocol=protocol,
        exchange=frame.message_id,
        sender=peer,
        receiver=local,
        content=frame.digest,
    )
    sender = agent_proof.require(verdict)
    to_agent = None if frame.to_agent is msgspec.UNSET else AgentId(frame.to_agent)
    return Received(frame.message_id, frame.content, frame.content_format, sender, to_agent)


def refusal(message_id: str, code: str, message: str) -> bytes:
    """The line of a dm.error, its parts cut to what a reader takes."""
    frame = ErrorFrame(
        version=1,
        message_id=message_id,
        code=code[: limits.FRAME_WORD_CHARS] or Code.INTERNAL,
        message=message[: limits.ERROR_MESSAGE_CHARS],
    )
    return write(frame, max_line=limits.CONTROL_LINE_BYTES)


def reply_to(error: RemoteProtocolError, message_id: str) -> bytes:
    """The line that answers a fault."""
    return refusal(message_id, _REPLIES.get(error.code, Code.BAD_REQUEST), str(error))


class DmReceiver(FrameMachine[DmFrame, Received]):
    """A `StreamMachine`: one event, then one command, Ack or Refuse. `local` and `peer` are the stream's ends.

    A second message is refused as long as the first is not answered, and ignored behind the answer.
    """

    def __init__(
        self,
        local: PeerId,
        peer: PeerId,
        *,
        max_content: int = limits.DM_CONTENT_BYTES,
        max_line: int = limits.DM_LINE_BYTES,
        max_unknown: int = limits.UNKNOWN_FRAMES,
    ) -> None:
        super().__init__(FrameReader(DmFrame, max_line=max_line, wide=(MessageFrame,), max_unknown=max_unknown))
        self._local = local
        self._peer = peer
        self._max_content = max_content
        self._message_id = ""
        self._state = _State.START

    def send(self, command: Ack | Refuse) -> bytes:
        """One line. Raises LocalProtocolError before the message, and for a second answer."""
        if self._state is not _State.RECEIVED:
            raise LocalProtocolError(f"{type(command).__name__} cannot be sent: {self._state.value}")
        if isinstance(command, Ack):
            frame = AckFrame(version=1, message_id=self._message_id)
            line = write(frame, max_line=limits.CONTROL_LINE_BYTES)
        else:
            line = refusal(self._message_id, command.code, command.message)
        self._state = _State.ANSWERED
        return line

    def _take(self, frame: DmFrame | UnknownFrame) -> Iterator[Received]:
        if isinstance(frame, UnknownFrame) and self._state is not _State.START:
            return
        if not isinstance(frame, MessageFrame):
            raise RemoteProtocolError("unexpected_frame", f"{type_of(frame)}: {self._state.value}")
        if self._state is not _State.START:
            raise RemoteProtocolError("second_message", "a stream carries one message")
        self._message_id = frame.message_id
        received = accept(frame, protocol=PROTOCOL, local=self._local, peer=self._peer, max_content=self._max_content)
        self._state = _State.RECEIVED
        yield received

    def _end(self) -> list[Received]:
        return []  # without a message: a peer that only tried whether we speak the protocol

    def _over(self) -> bool:
        return self._state is _State.ANSWERED

    def _refuse(self, error: RemoteProtocolError) -> bytes:
        self._state = _State.ANSWERED
        return reply_to(error, self._message_id)

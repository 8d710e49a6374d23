"""The end that sends one direct message on a stream. (specs/dm.md §3)"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from nexusd_protocols import agent_proof, limits, ndjson
from nexusd_protocols.dm.frames import PROTOCOL, AckFrame, DmFrame, ErrorFrame, MessageFrame
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError
from nexusd_protocols.frames import FrameMachine, FrameReader, UnknownFrame, type_of, write
from nexusd_protocols.identity import AgentId, PeerId, Signer


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Command: send this message. `author` signs for an agent other than the node's
    own; `to_agent` names one at the receiver."""

    message_id: str
    content: str
    content_format: str = "text/plain"
    author: Signer | None = None
    to_agent: AgentId | None = None


class Acknowledged(msgspec.Struct, frozen=True):
    """The receiver has committed the message."""

    message_id: str


class Refused(msgspec.Struct, frozen=True):
    """The receiver did not store the message, and says why: its words, untrusted."""

    code: str
    message: str
    message_id: str = ""


class Unconfirmed(msgspec.Struct, frozen=True):
    """The receiver closed its end without a word, as published peers do."""

    message_id: str = ""


DmSenderEvent = Acknowledged | Refused | Unconfirmed


class _State(enum.Enum):
    START = "before the message"
    SENT = "waiting for the acknowledgement"
    ENDED = "over"


def compose(
    command: Message, *, protocol: str, local: PeerId, peer: PeerId, max_content: int, max_line: int
) -> tuple[str, bytes]:
    """The message's id and line. Raises LimitExceededError `content` or `line`, LocalProtocolError."""
    try:
        frame = _frame(command, protocol, local, peer)
        size = ndjson.json_size(command.content)
    except (TypeError, ValueError) as error:
        raise LocalProtocolError(f"not a message: {error}") from error
    if size > max_content:
        raise LimitExceededError("content", f"{size} bytes of content are over {max_content}")
    return frame.message_id, write(frame, max_line=max_line)


def _frame(command: Message, protocol: str, local: PeerId, peer: PeerId) -> MessageFrame:
    frame = MessageFrame(
        version=1,
        request_id=command.message_id,
        message_id=command.message_id,
        content_format=command.content_format,
        content=command.content,
        to_agent=command.to_agent or msgspec.UNSET,
    )
    frame = agent_proof.prove(
        frame,
        command.author,
        protocol=protocol,
        exchange=command.message_id,
        sender=local,
        receiver=peer,
        content=frame.digest,
    )
    # what we send must be what we would accept
    return msgspec.convert(msgspec.to_builtins(frame), MessageFrame)


class DmSender(FrameMachine[DmFrame, DmSenderEvent]):
    """A `StreamMachine`: one command, one event; the shell half-closes behind the command. `local` and `peer` are the
    stream's ends."""

    def __init__(
        self,
        local: PeerId,
        peer: PeerId,
        *,
        max_content: int = limits.DM_CONTENT_BYTES,
        max_line: int = limits.DM_LINE_BYTES,
        max_unknown: int = limits.UNKNOWN_FRAMES,
    ) -> None:
        super().__init__(FrameReader(DmFrame, max_unknown=max_unknown))
        self._local = local
        self._peer = peer
        self._max_content = max_content
        self._max_line = max_line
        self._message_id = ""
        self._state = _State.START

    def send(self, command: Message) -> bytes:
        """One line, to be handed to the transport as one write: the published reader takes a chunk for a frame.

        Raises LimitExceededError `content` or `line`, LocalProtocolError for a second message or one that is malformed.
        """
        if self._state is not _State.START:
            raise LocalProtocolError(f"a stream carries one message: it is {self._state.value}")
        self._message_id, line = compose(
            command,
            protocol=PROTOCOL,
            local=self._local,
            peer=self._peer,
            max_content=self._max_content,
            max_line=self._max_line,
        )
        self._state = _State.SENT
        return line

    def _take(self, frame: DmFrame | UnknownFrame) -> Iterator[DmSenderEvent]:
        if self._state is _State.START or isinstance(frame, MessageFrame):
            raise RemoteProtocolError("unexpected_frame", f"{type_of(frame)}: {self._state.value}")
        match frame:
            case AckFrame(message_id=message_id):
                if message_id != self._message_id:
                    raise RemoteProtocolError("wrong_message_id", "the acknowledgement is of another message")
                self._state = _State.ENDED
                yield Acknowledged(message_id)
            case ErrorFrame(message_id=message_id, code=code, message=message):
                if message_id not in ("", self._message_id):
                    raise RemoteProtocolError("wrong_message_id", "the error is of another message")
                self._state = _State.ENDED
                yield Refused(code, message[: limits.ERROR_MESSAGE_CHARS], self._message_id)

    def _end(self) -> list[DmSenderEvent]:
        if self._state is _State.START:
            raise RemoteProtocolError("cut_short", f"the receiver ended the stream {self._state.value}")
        self._state = _State.ENDED
        return [Unconfirmed()]

    def _over(self) -> bool:
        return self._state is _State.ENDED

    def _refuse(self, _error: RemoteProtocolError) -> bytes:
        self._state = _State.ENDED
        return b""

"""The end that answers. (specs/handshake.md §4)"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from nexusd_protocols import limits
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.frames import FrameMachine, FrameReader, UnknownFrame, type_of, write
from nexusd_protocols.handshake.frames import (
    AckFrame,
    CapabilityStatus,
    Code,
    ErrorFrame,
    HandshakeFrame,
    InitFrame,
    Relay,
    Wanted,
)
from nexusd_protocols.handshake.introduction import Introduction
from nexusd_protocols.identity import PeerId


class Asked(msgspec.Struct, frozen=True):
    """Somebody asks."""

    peer: Introduction
    wanted: Wanted


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Command: introduce ourselves and say what we offer: at most `limits.HANDSHAKE_ROWS` capabilities. What was not
    wanted is left out by the machine. `relay` none: nothing is said of it. The shell half-closes behind it."""

    agent_name: str = ""
    agent_type: str = ""
    roles: tuple[str, ...] = ()
    capabilities: tuple[CapabilityStatus, ...] = ()
    relay: bool | None = None


class Refuse(msgspec.Struct, frozen=True):
    """Command: do not answer, and say why. `code` is one of `frames.Code`."""

    code: str
    message: str = ""


class _State(enum.Enum):
    START = "before the question"
    ASKED = "waiting for our answer"
    ANSWERED = "answered"


_REPLIES = {"wrong_peer_id": Code.FORBIDDEN}


class Answerer(FrameMachine[HandshakeFrame, Asked]):
    """A `StreamMachine`: one event, then one command, Answer or Refuse. `local` and `peer` are the stream's ends."""

    def __init__(self, local: PeerId, peer: PeerId, *, max_unknown: int = limits.UNKNOWN_FRAMES) -> None:
        super().__init__(FrameReader(HandshakeFrame, max_unknown=max_unknown))
        self._local = local
        self._peer = peer
        self._request_id = ""
        self._wanted = Wanted()
        self._state = _State.START

    def send(self, command: Answer | Refuse) -> bytes:
        """One line. Raises LocalProtocolError before the question, for a second answer, or one that is malformed."""
        if self._state is not _State.ASKED:
            raise LocalProtocolError(f"{type(command).__name__} cannot be sent: {self._state.value}")
        line = self._answer(command) if isinstance(command, Answer) else self._error(command.code, command.message)
        self._state = _State.ANSWERED
        return line

    def _answer(self, command: Answer) -> bytes:
        told = command.relay is not None and self._wanted.relay_options
        frame = AckFrame(
            version=1,
            request_id=self._request_id,
            peer_id=self._local,
            agent_name=command.agent_name,
            agent_type=command.agent_type,
            roles=command.roles,
            capability_status=command.capabilities if self._wanted.capability_status else (),
            relay=Relay(available=bool(command.relay)) if told else msgspec.UNSET,
        )
        try:
            msgspec.convert(msgspec.to_builtins(frame), AckFrame)  # what we send must be what we would accept
        except msgspec.ValidationError as error:
            raise LocalProtocolError(f"not an answer: {error}") from error
        return write(frame, max_line=limits.CONTROL_LINE_BYTES)

    def _error(self, code: str, message: str) -> bytes:
        frame = ErrorFrame(
            version=1,
            request_id=self._request_id,
            code=code[: limits.FRAME_WORD_CHARS] or Code.INTERNAL,
            message=message[: limits.ERROR_MESSAGE_CHARS],
        )
        return write(frame, max_line=limits.CONTROL_LINE_BYTES)

    def _take(self, frame: HandshakeFrame | UnknownFrame) -> Iterator[Asked]:
        if isinstance(frame, UnknownFrame) and self._state is not _State.START:
            return
        if not isinstance(frame, InitFrame):
            raise RemoteProtocolError("unexpected_frame", f"{type_of(frame)}: {self._state.value}")
        if self._state is not _State.START:
            raise RemoteProtocolError("second_question", "a stream carries one question")
        self._request_id = frame.request_id
        if frame.peer_id != self._peer:
            raise RemoteProtocolError("wrong_peer_id", "the question names another peer than the stream", penalty=10)
        self._wanted = frame.wanted
        self._state = _State.ASKED
        peer = Introduction(
            peer_id=frame.peer_id, agent_name=frame.agent_name, agent_type=frame.agent_type, roles=frame.roles
        )
        yield Asked(peer, frame.wanted)

    def _end(self) -> list[Asked]:
        return []  # without a question: a peer that only tried whether we speak the protocol

    def _over(self) -> bool:
        return self._state is _State.ANSWERED

    def _refuse(self, error: RemoteProtocolError) -> bytes:
        self._request_id = self._request_id or self._reader.request_id
        reply = self._error(_REPLIES.get(error.code, Code.BAD_REQUEST), str(error))
        self._state = _State.ANSWERED
        return reply

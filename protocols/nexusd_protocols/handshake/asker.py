"""The end that asks. (specs/handshake.md §3)"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from nexusd_protocols import limits
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.frames import FrameMachine, FrameReader, UnknownFrame, type_of, write
from nexusd_protocols.handshake.frames import (
    CapabilityStatus,
    ErrorFrame,
    HandshakeFrame,
    InitFrame,
    Relay,
    Wanted,
)
from nexusd_protocols.handshake.introduction import Introduction
from nexusd_protocols.identity import PeerId


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Command: introduce ourselves and ask. The shell half-closes behind it."""

    request_id: str
    agent_name: str = ""
    agent_type: str = ""
    roles: tuple[str, ...] = ()
    wanted: Wanted = msgspec.field(default_factory=lambda: Wanted(capability_status=True))


class Answered(msgspec.Struct, frozen=True):
    """What the peer offers. All of it is the peer's word: untrusted."""

    peer: Introduction
    capabilities: tuple[CapabilityStatus, ...]
    relay: bool | None


class Refused(msgspec.Struct, frozen=True):
    """The peer does not answer, and says why."""

    code: str
    message: str


AskerEvent = Answered | Refused


class _State(enum.Enum):
    START = "before the question"
    ASKED = "waiting for the answer"
    ENDED = "over"


class Asker(FrameMachine[HandshakeFrame, AskerEvent]):
    """A `StreamMachine`: the command Ask, then one event. `local` and `peer` are the stream's ends."""

    def __init__(self, local: PeerId, peer: PeerId, *, max_unknown: int = limits.UNKNOWN_FRAMES) -> None:
        super().__init__(FrameReader(HandshakeFrame, max_unknown=max_unknown))
        self._local = local
        self._peer = peer
        self._request_id = ""
        self._state = _State.START

    def send(self, command: Ask) -> bytes:
        """One line. Raises LocalProtocolError for a second question or one that is malformed."""
        if self._state is not _State.START:
            raise LocalProtocolError(f"a stream carries one question: it is {self._state.value}")
        frame = InitFrame(
            version=1,
            request_id=command.request_id,
            peer_id=self._local,
            agent_name=command.agent_name,
            agent_type=command.agent_type,
            roles=command.roles,
            wanted=command.wanted,
        )
        try:
            msgspec.convert(msgspec.to_builtins(frame), InitFrame)  # what we send must be what we would accept
        except msgspec.ValidationError as error:
            raise LocalProtocolError(f"not a question: {error}") from error
        line = write(frame, max_line=limits.CONTROL_LINE_BYTES)
        self._request_id = frame.request_id
        self._state = _State.ASKED
        return line

    def _take(self, frame: HandshakeFrame | UnknownFrame) -> Iterator[AskerEvent]:
        if self._state is _State.START or isinstance(frame, InitFrame):
            raise RemoteProtocolError("unexpected_frame", f"{type_of(frame)}: {self._state.value}")
        if isinstance(frame, UnknownFrame):
            return
        unread = ("",) if isinstance(frame, ErrorFrame) else ()
        if frame.request_id not in (self._request_id, *unread):
            raise RemoteProtocolError("wrong_request_id", "a stream carries one question")
        if isinstance(frame, ErrorFrame):
            self._state = _State.ENDED
            yield Refused(frame.code, frame.message[: limits.ERROR_MESSAGE_CHARS])
            return
        if frame.peer_id != self._peer:
            raise RemoteProtocolError("wrong_peer_id", "the answer names another peer than the stream", penalty=10)
        self._state = _State.ENDED
        relay = frame.relay.available if isinstance(frame.relay, Relay) else None
        peer = Introduction(
            peer_id=frame.peer_id, agent_name=frame.agent_name, agent_type=frame.agent_type, roles=frame.roles
        )
        yield Answered(peer, frame.capability_status, relay)

    def _end(self) -> list[AskerEvent]:
        raise RemoteProtocolError("cut_short", f"the peer ended the stream {self._state.value}")

    def _over(self) -> bool:
        return self._state is _State.ENDED

    def _refuse(self, _error: RemoteProtocolError) -> bytes:
        self._state = _State.ENDED
        return b""

"""The end that sends many direct messages on one stream. (specs/dm.md §5)"""

from __future__ import annotations

from collections.abc import Iterator

from nexusd_protocols import limits
from nexusd_protocols.dm.frames import MANY, AckFrame, DmFrame, ErrorFrame, MessageFrame
from nexusd_protocols.dm.sender import Acknowledged, DmSenderEvent, Message, Refused, compose
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError
from nexusd_protocols.frames import FrameMachine, FrameReader, UnknownFrame, type_of
from nexusd_protocols.identity import PeerId


class ManySender(FrameMachine[DmFrame, DmSenderEvent]):
    """A `StreamMachine`: an event for each command, in whatever order, or the end of the stream without one: that
    message was not stored, and may be sent again on another stream. `local` and `peer` are the stream's ends."""

    def __init__(
        self,
        local: PeerId,
        peer: PeerId,
        *,
        max_unacknowledged: int = limits.DM_UNACKNOWLEDGED,
        max_content: int = limits.DM_CONTENT_BYTES,
        max_line: int = limits.DM_LINE_BYTES,
    ) -> None:
        super().__init__(FrameReader(DmFrame))
        self._local = local
        self._peer = peer
        self._max_unacknowledged = max_unacknowledged
        self._max_content = max_content
        self._max_line = max_line
        self._under_way: set[str] = set()
        self._ended = False

    @property
    def unacknowledged(self) -> int:
        """Messages that were sent and not answered."""
        return len(self._under_way)

    def send(self, command: Message) -> bytes:
        """One line. Raises LimitExceededError `unacknowledged`, `content` or `line`, LocalProtocolError for a message
        that is malformed, or under way already, and after the end."""
        if self._ended:
            raise LocalProtocolError("the stream is over")
        if len(self._under_way) >= self._max_unacknowledged:
            raise LimitExceededError("unacknowledged", f"{self._max_unacknowledged} messages are under way")
        if command.message_id in self._under_way:
            raise LocalProtocolError(f"message {command.message_id} is under way")
        message_id, line = compose(
            command,
            protocol=MANY,
            local=self._local,
            peer=self._peer,
            max_content=self._max_content,
            max_line=self._max_line,
        )
        self._under_way.add(message_id)
        return line

    def _take(self, frame: DmFrame | UnknownFrame) -> Iterator[DmSenderEvent]:
        match frame:
            case MessageFrame():
                raise RemoteProtocolError("unexpected_frame", f"{type_of(frame)} from the receiver")
            case AckFrame(message_id=message_id):
                self._answered(message_id)
                yield Acknowledged(message_id)
            case ErrorFrame(message_id="", code=code, message=message):
                # of what could not be read; the end of the stream follows
                yield Refused(code, message[: limits.ERROR_MESSAGE_CHARS])
            case ErrorFrame(message_id=message_id, code=code, message=message):
                self._answered(message_id)
                yield Refused(code, message[: limits.ERROR_MESSAGE_CHARS], message_id)

    def _answered(self, message_id: str) -> None:
        if message_id not in self._under_way:
            raise RemoteProtocolError("wrong_message_id", "an answer to a message that is not under way")
        self._under_way.discard(message_id)

    def _end(self) -> list[DmSenderEvent]:
        self._ended = True
        return []

    def _over(self) -> bool:
        return self._ended

    def _refuse(self, _error: RemoteProtocolError) -> bytes:
        self._ended = True
        return b""

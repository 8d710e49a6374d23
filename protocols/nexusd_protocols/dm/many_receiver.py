"""The end that receives many direct messages on one stream. (specs/dm.md §5)"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from nexusd_protocols import limits
from nexusd_protocols.dm.frames import MANY, AckFrame, DmFrame, MessageFrame
from nexusd_protocols.dm.receiver import Received, accept, refusal, reply_to
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.frames import FrameMachine, FrameReader, UnknownFrame, type_of, write
from nexusd_protocols.identity import PeerId


class Answer(msgspec.Struct, frozen=True):
    """One message is committed, or with a `code` (one of `frames.Code`) was not stored."""

    message_id: str
    code: str = ""
    message: str = ""


class ManyReceiver(FrameMachine[DmFrame, Received]):
    """A `StreamMachine`: events, each of which is answered once. The command is a sequence of answers, so that messages
    which share a commit share a write too. `local` and `peer` are the stream's ends."""

    def __init__(
        self,
        local: PeerId,
        peer: PeerId,
        *,
        max_unacknowledged: int = limits.DM_UNACKNOWLEDGED,
        max_content: int = limits.DM_CONTENT_BYTES,
        max_line: int = limits.DM_LINE_BYTES,
        max_unknown: int = limits.UNKNOWN_FRAMES,
    ) -> None:
        super().__init__(FrameReader(DmFrame, max_line=max_line, wide=(MessageFrame,), max_unknown=max_unknown))
        self._local = local
        self._peer = peer
        self._max_unacknowledged = max_unacknowledged
        self._max_content = max_content
        self._unanswered: set[str] = set()
        self._reading = ""  # the message that is being checked
        self._refused = False

    def send(self, command: Sequence[Answer]) -> bytes:
        """A line for each. Raises LocalProtocolError for an answer to what was not asked, or is answered."""
        lines = []
        for answer in command:
            if answer.message_id not in self._unanswered:
                raise LocalProtocolError(f"message {answer.message_id} does not wait for an answer")
            self._unanswered.discard(answer.message_id)
            lines.append(_line(answer))
        return b"".join(lines)

    def _take(self, frame: DmFrame | UnknownFrame) -> Iterator[Received]:
        if isinstance(frame, UnknownFrame):
            return
        if not isinstance(frame, MessageFrame):
            raise RemoteProtocolError("unexpected_frame", f"{type_of(frame)} from the sender")
        if frame.message_id in self._unanswered:
            raise RemoteProtocolError("repeated_message", "the message is under way on this stream")
        self._reading = frame.message_id
        if len(self._unanswered) >= self._max_unacknowledged:
            raise RemoteProtocolError("too_many_messages", f"over {self._max_unacknowledged} are under way", penalty=10)
        received = accept(frame, protocol=MANY, local=self._local, peer=self._peer, max_content=self._max_content)
        self._unanswered.add(frame.message_id)
        self._reading = ""
        yield received

    def _end(self) -> list[Received]:
        return []

    def _over(self) -> bool:
        return self._refused

    def _refuse(self, error: RemoteProtocolError) -> bytes:
        self._refused = True
        return reply_to(error, self._reading)


def _line(answer: Answer) -> bytes:
    if answer.code:
        return refusal(answer.message_id, answer.code, answer.message)
    return write(AckFrame(version=1, message_id=answer.message_id), max_line=limits.CONTROL_LINE_BYTES)

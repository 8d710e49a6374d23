"""Both ends of `/nexus/chat-sync/1.1.0`, the published network's: one request, one response. (specs/chat-sync.md §6)

It names batches and checkpoints of version 1 (`history.v1`), which are fetched as content. Their messages carry no
signatures of their authors, so they are for people to look at and for members that know nothing better.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from nexusd_protocols import limits
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.frames import Count, Frame, FrameMachine, FrameReader, RequestId, UnknownFrame, type_of, write
from nexusd_protocols.ids import RoomId, parse_room_id

PROTOCOL: Final = "/nexus/chat-sync/1.1.0"

_CidText = Annotated[str, Meta(min_length=1, max_length=limits.REFERENCE_CHARS)]


class RequestFrame(Frame, frozen=True, kw_only=True, tag="sync.request", omit_defaults=True):
    """requester → provider: which batches are there, behind this checkpoint?"""

    request_id: RequestId | msgspec.UnsetType = msgspec.UNSET
    room_id: str
    since_checkpoint: _CidText | None = None
    max_batches: Count


class ResponseFrame(Frame, frozen=True, kw_only=True, tag="sync.response", omit_defaults=True):
    """provider → requester: these, the oldest first."""

    request_id: RequestId | msgspec.UnsetType = msgspec.UNSET
    room_id: str
    latest_checkpoint: _CidText | None = None
    batches: tuple[_CidText, ...]


SyncFrame = RequestFrame | ResponseFrame


class Ask(msgspec.Struct, frozen=True):
    """Command of the requester, event of the provider. `since` is a checkpoint whose batches are known."""

    room: RoomId
    since: Cid | None = None
    max_batches: int = limits.V1_SYNC_BATCHES


class Tell(msgspec.Struct, frozen=True):
    """Command of the provider, event of the requester. A room that is not shared has no checkpoint and no batches: the
    published protocol has no other word for no."""

    latest: Cid | None = None
    batches: tuple[Cid, ...] = ()


class _State(enum.Enum):
    START = "before the request"
    ASKED = "waiting for the response"
    ENDED = "over"


class PublishedRequester(FrameMachine[SyncFrame, Tell]):
    """A `StreamMachine`: one Ask, one Tell; the shell half-closes behind the command."""

    def __init__(self, *, max_line: int = limits.CONTROL_LINE_BYTES) -> None:
        super().__init__(FrameReader(SyncFrame, max_line=max_line))
        self._max_line = max_line
        self._asked = Ask(RoomId(""))
        self._state = _State.START

    def send(self, command: Ask) -> bytes:
        """One line. Raises LocalProtocolError for a second one."""
        if self._state is not _State.START:
            raise LocalProtocolError(f"a stream carries one request: it is {self._state.value}")
        frame = RequestFrame(
            version=1,
            room_id=command.room,
            since_checkpoint=None if command.since is None else str(command.since),
            max_batches=command.max_batches,
        )
        line = write(frame, max_line=self._max_line)
        self._asked, self._state = command, _State.ASKED
        return line

    def _take(self, frame: SyncFrame | UnknownFrame) -> Iterator[Tell]:
        if isinstance(frame, UnknownFrame) and self._state is _State.ASKED:
            return
        if self._state is not _State.ASKED or not isinstance(frame, ResponseFrame):
            raise RemoteProtocolError("unexpected_frame", f"{type_of(frame)}: {self._state.value}")
        if frame.room_id != self._asked.room:
            raise RemoteProtocolError("wrong_room", "the response is about another room")
        if len(frame.batches) > min(self._asked.max_batches, limits.V1_SYNC_BATCHES):
            raise RemoteProtocolError("too_many_batches", "more than were asked for")
        told = Tell(_cid(frame.latest_checkpoint), tuple(map(_read_cid, frame.batches)))
        self._state = _State.ENDED
        yield told

    def _end(self) -> list[Tell]:
        if self._state is _State.ASKED:
            raise RemoteProtocolError("cut_short", "the stream ended without a response")
        self._state = _State.ENDED
        return []

    def _over(self) -> bool:
        return self._state is _State.ENDED

    def _refuse(self, _error: RemoteProtocolError) -> bytes:
        self._state = _State.ENDED
        return b""


class PublishedProvider(FrameMachine[SyncFrame, Ask]):
    """A `StreamMachine`: one Ask, one Tell, and the shell half-closes. What it refuses it answers by closing."""

    def __init__(self, *, max_line: int = limits.CONTROL_LINE_BYTES) -> None:
        super().__init__(FrameReader(SyncFrame, max_line=max_line))
        self._max_line = max_line
        self._request: RequestFrame | None = None
        self._most = 0
        self._state = _State.START

    def send(self, command: Tell) -> bytes:
        """One line. Raises LocalProtocolError before the request, for a second answer, and for more batches than were
        asked for."""
        if self._state is not _State.ASKED or self._request is None:
            raise LocalProtocolError(f"there is nothing to answer: {self._state.value}")
        if len(command.batches) > self._most:
            raise LocalProtocolError(f"{self._most} batches were asked for")
        frame = ResponseFrame(
            version=1,
            request_id=self._request.request_id,
            room_id=self._request.room_id,
            latest_checkpoint=None if command.latest is None else str(command.latest),
            batches=tuple(map(str, command.batches)),
        )
        line = write(frame, max_line=self._max_line)
        self._state = _State.ENDED
        return line

    def _take(self, frame: SyncFrame | UnknownFrame) -> Iterator[Ask]:
        if isinstance(frame, UnknownFrame) and self._state is _State.ASKED:
            return
        if self._state is not _State.START or not isinstance(frame, RequestFrame):
            raise RemoteProtocolError("unexpected_frame", f"{type_of(frame)}: {self._state.value}")
        try:
            room = parse_room_id(frame.room_id)
        except ValueError as error:
            raise RemoteProtocolError("bad_room", str(error)) from error
        self._request = frame
        self._most = min(frame.max_batches, limits.V1_SYNC_BATCHES)
        self._state = _State.ASKED
        yield Ask(room, _cid(frame.since_checkpoint), self._most)

    def _end(self) -> list[Ask]:
        return []  # without a request: a peer that only tried whether we speak the protocol

    def _over(self) -> bool:
        return self._state is _State.ENDED

    def _refuse(self, _error: RemoteProtocolError) -> bytes:
        self._state = _State.ENDED
        return b""


def _cid(text: str | None) -> Cid | None:
    return None if text is None else _read_cid(text)


def _read_cid(text: str) -> Cid:
    try:
        return Cid.parse(text)
    except ValueError as error:
        raise RemoteProtocolError("bad_cid", str(error)) from error

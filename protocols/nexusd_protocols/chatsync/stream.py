"""Both ends of `/nexus/chat-sync/2.0.0`. (specs/chat-sync.md §4, §5)

    initiator: send(Open | Compare | Want | Put | Head) -> bytes … receive(bytes) -> the answer, then the next
    responder: receive(bytes) -> the request, send(Opened | Compare | Messages… | Took | Headed | Refused) -> bytes

One request is under way at a time. The machines check all that can be checked without the set itself; what is compared
is for `reconcile`, and what is kept for the caller.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, Generic, NoReturn, TypeVar

import msgspec

from nexusd_protocols import limits
from nexusd_protocols.chatsync import codec
from nexusd_protocols.chatsync.frames import (
    Compare,
    Frame,
    Head,
    Headed,
    Messages,
    Open,
    Opened,
    Put,
    Refused,
    Took,
    Want,
)
from nexusd_protocols.chatsync.ranges import check_answer, check_request
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError

EventT = TypeVar("EventT")
Request = Open | Compare | Want | Put | Head
Answer = Opened | Compare | Messages | Took | Headed | Refused

_ANSWERS: Final[dict[type[Request], type[Answer]]] = {
    Open: Opened,
    Compare: Compare,
    Want: Messages,
    Put: Took,
    Head: Headed,
}


class Delivered(msgspec.Struct, frozen=True):
    """Messages that were wanted, each with the digest that it was checked against. Of their signatures nothing is known
    yet."""

    messages: tuple[tuple[bytes, bytes], ...]


class Undelivered(msgspec.Struct, frozen=True):
    """The want is answered, and these were not: whoever offered them is to blame. Empty when all came."""

    digests: tuple[bytes, ...]


InitiatorEvent = Opened | Refused | Compare | Delivered | Undelivered | Took | Headed


def _name(frame: object) -> str:
    return type(frame).__name__.lower()


class _Side(Generic[EventT]):
    """What both ends share: frames in, and an end behind which nothing is read."""

    def __init__(self, max_frame: int) -> None:
        self._buffer = codec.FrameBuffer(max_frame)
        self._max_frame = max_frame
        self._ended = False
        self._request: Request | None = None  # under way
        self._outstanding: dict[bytes, None] = {}  # of a want, in its order

    def receive(self, data: bytes) -> list[EventT]:
        """See `StreamMachine`."""
        events: list[EventT] = []
        if self._ended:
            return events
        try:
            for raw in self._buffer.feed(data):
                events += self._read(raw)
        except RemoteProtocolError as error:
            self._fail(error)
        return events

    def receive_eof(self) -> list[EventT]:
        """See `StreamMachine`. Raises `cut_short` within a frame, and where something is owed."""
        if not self._ended:
            if len(self._buffer) or self._owed():
                self._fail(RemoteProtocolError("cut_short", "the stream ended too early"))
            self._ended = True
        return []

    def _read(self, raw: bytes) -> Iterable[EventT]:
        # what follows the end in the same bytes is not looked at
        return () if self._ended else self._take(codec.decode(raw, max_bytes=self._max_frame))

    def _encode(self, frame: Frame) -> bytes:
        return codec.encode(frame, max_bytes=self._max_frame)

    def _fail(self, error: RemoteProtocolError) -> NoReturn:
        self._ended = True
        raise RemoteProtocolError(error.code, error.detail, reply=self._reply(error), penalty=error.penalty) from error

    def _take(self, frame: Frame) -> Iterable[EventT]:
        raise NotImplementedError  # a subclass says

    def _owed(self) -> bool:
        raise NotImplementedError  # a subclass says

    def _reply(self, error: RemoteProtocolError) -> bytes:
        raise NotImplementedError  # a subclass says


class SyncInitiator(_Side[InitiatorEvent]):
    """A `StreamMachine` that asks. Half-close the stream when nothing is left to ask."""

    def __init__(
        self,
        *,
        max_frame: int = limits.SYNC_FRAME_BYTES,
        max_rounds: int = limits.SYNC_ROUNDS,
        max_wants: int = limits.SYNC_SESSION_WANTS,
        max_bytes: int = limits.SYNC_SESSION_BYTES,
        max_undelivered: int = limits.SYNC_UNDELIVERED,
    ) -> None:
        super().__init__(max_frame)
        self._opened = False
        self._rounds_left = max_rounds
        self._wants_left = max_wants
        self._bytes_left = max_bytes
        self._undelivered_left = max_undelivered
        self._missing: list[bytes] = []  # of the want that is under way: what is not there

    def send(self, command: Request) -> bytes:
        """One request. Raises LimitExceededError `rounds`, `wants`, `bytes` or `frame`: what is left is for another
        session; LocalProtocolError while another is under way, before the room was opened, behind the end, and for
        what no responder takes."""
        if self._ended or self._request is not None:
            raise LocalProtocolError(f"{_name(command)}: {'it is over' if self._ended else 'a request is under way'}")
        if isinstance(command, Open) == self._opened:
            raise LocalProtocolError(f"{_name(command)}: a stream is opened first, and once")
        data = self._encode(command)
        match command:
            case Want(digests=digests) if not 0 < len(set(digests)) == len(digests) <= limits.SYNC_WANTS:
                raise LocalProtocolError(f"1 to {limits.SYNC_WANTS} different digests expected")
            case Put(messages=messages) if not 0 < len(messages) <= limits.SYNC_WANTS or not all(messages):
                raise LocalProtocolError(f"1 to {limits.SYNC_WANTS} messages expected")
            case Compare():
                self._rounds_left = _spent("rounds", self._rounds_left, 1)
            case Want(digests=digests):
                self._wants_left = _spent("wants", self._wants_left, len(digests))
                self._outstanding = dict.fromkeys(digests)
            case Put(messages=messages):
                self._bytes_left = _spent("bytes", self._bytes_left, sum(map(len, messages)))
            case _:
                pass
        self._request = command
        return data

    def _take(self, frame: Frame) -> Iterable[InitiatorEvent]:
        request = self._request
        if isinstance(frame, Refused):
            self._ended = True
            return [frame]
        if request is None or not isinstance(frame, _ANSWERS[type(request)]):
            raise RemoteProtocolError("unexpected_frame", f"{_name(frame)} answers nothing that was asked", penalty=10)
        match frame, request:
            case Messages(), Want():
                return self._delivered(frame)
            case Compare(ranges=answer), Compare(ranges=asked):
                check_answer(asked, answer)
            case Took(), Put(messages=messages):
                _check_took(frame, messages)
            case Opened(), _:
                self._opened = True
            case _:
                pass
        self._request = None
        assert isinstance(frame, Opened | Compare | Took | Headed)
        return [frame]

    def _delivered(self, frame: Messages) -> Iterable[InitiatorEvent]:
        if not (frame.last or frame.messages or frame.absent):
            raise RemoteProtocolError("empty_frame", "nothing in it, and not the last", penalty=10)
        messages = tuple((hashlib.sha256(raw).digest(), raw) for raw in frame.messages)
        for digest in (*(digest for digest, _ in messages), *frame.absent):
            if digest not in self._outstanding:
                raise RemoteProtocolError("unasked_message", "not wanted, or answered already", penalty=10)
            del self._outstanding[digest]
        self._missing += frame.absent
        if messages:
            yield Delivered(messages)
        if not frame.last:
            return
        missing = (*self._missing, *self._outstanding)
        self._undelivered_left -= len(missing)
        if self._undelivered_left < 0:
            raise RemoteProtocolError("empty_promises", "offered, and not there when wanted", penalty=10)
        self._missing = []
        self._outstanding = {}
        self._request = None
        yield Undelivered(missing)

    def _owed(self) -> bool:
        return self._request is not None

    def _reply(self, error: RemoteProtocolError) -> bytes:
        return b""


class SyncResponder(_Side[Request]):
    """A `StreamMachine` that answers: each event is a request, and waits for its answer, which for a want is several
    `Messages` of which the last one says so. `Refused` answers anything, and ends it."""

    def __init__(
        self,
        *,
        max_frame: int = limits.SYNC_FRAME_BYTES,
        max_rounds: int = limits.SYNC_ROUNDS,
        max_wants: int = limits.SYNC_SESSION_WANTS,
        max_bytes: int = limits.SYNC_SESSION_BYTES,
    ) -> None:
        super().__init__(max_frame)
        self._opened = False
        self._left = {Compare: max_rounds, Want: max_wants, Put: max_bytes, Head: max_rounds}

    def send(self, command: Answer) -> bytes:
        """One frame. Raises LocalProtocolError for what does not answer the request that is under way,
        LimitExceededError `frame`."""
        request = self._request
        if self._ended or request is None or not isinstance(command, (_ANSWERS[type(request)], Refused)):
            raise LocalProtocolError(f"{_name(command)} answers nothing that was asked")
        data = self._encode(command)
        match command:
            case Refused():
                self._ended = True
            case Messages(messages=messages, last=last):
                for raw in messages:
                    if self._outstanding.pop(hashlib.sha256(raw).digest(), self) is self:
                        raise LocalProtocolError("a message that was not wanted, or was sent already")
                if not last:
                    return data
            case Opened():
                self._opened = True
            case _:
                pass
        self._request = None
        return data

    def _take(self, frame: Frame) -> Iterable[Request]:
        if not isinstance(frame, Request):
            raise RemoteProtocolError("unexpected_frame", f"{_name(frame)} from who asks", penalty=10)
        if self._request is not None:
            raise RemoteProtocolError("second_request", "one request at a time", penalty=10)
        if isinstance(frame, Open) == self._opened:
            raise RemoteProtocolError("unexpected_frame", "a stream is opened first, and once", penalty=10)
        match frame:
            case Compare(ranges=ranges):
                check_request(ranges)
                self._spend(Compare, 1, "too_many_rounds")
            case Want(digests=digests):
                self._spend(Want, len(digests), "too_many_wanted")
                self._outstanding = dict.fromkeys(digests)
            case Put(messages=messages):
                self._spend(Put, sum(map(len, messages)), "too_many_bytes")
            case Head(first=first, last=last):
                if not first < last <= first + limits.SYNC_HEAD_HOURS:
                    raise RemoteProtocolError("bad_head", "hours that ascend, and not so many", penalty=10)
                self._spend(Head, 1, "too_many_rounds")
            case Open():
                pass
        self._request = frame
        return [frame]

    def _spend(self, kind: type[Request], amount: int, code: str) -> None:
        self._left[kind] -= amount
        if self._left[kind] < 0:
            raise RemoteProtocolError(code, "more than one session is for")

    def _owed(self) -> bool:
        return False  # who asked may go whenever it likes

    def _reply(self, error: RemoteProtocolError) -> bytes:
        return self._encode(Refused(error.code))


def _spent(limit: str, left: int, amount: int) -> int:
    if amount > left:
        raise LimitExceededError(limit, f"{amount} more {limit} in one session than it is for")
    return left - amount


def _check_took(frame: Took, messages: tuple[bytes, ...]) -> None:
    put = {hashlib.sha256(raw).digest() for raw in messages}
    if frame.stored + len(frame.refused) != len(put) or not all(digest in put for digest, _ in frame.refused):
        raise RemoteProtocolError("wrong_count", "each message is stored, or refused for a reason", penalty=10)

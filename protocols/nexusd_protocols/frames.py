"""Frames of a line protocol, and what the machines that exchange them share.

A frame is one JSON object on one line, with `type` (`<protocol>.<name>`) and `version` 1. Fields that we do not know
are ignored; whole frames of unknown types too, once the exchange has begun, up to a bound: a later version may add
both. The flow of a machine: bytes -> `FrameReader` (lines, strict decoding) -> transition table -> events.
(specs/invoke.md §1)
"""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, Generic, Literal, NoReturn, TypeVar

import msgspec
from msgspec import Meta

from nexusd_protocols import limits, ndjson
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError

_request_id: Final = re.compile(rf"\A[\x21-\x7e]{{1,{limits.REQUEST_ID_CHARS}}}\Z")
RequestId = Annotated[str, Meta(pattern=_request_id.pattern)]
Word = Annotated[str, Meta(min_length=1, max_length=limits.FRAME_WORD_CHARS)]
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""An integer that JavaScript holds exactly."""


class Frame(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type"):
    """What every frame has."""

    version: Literal[1]


FrameT = TypeVar("FrameT", bound=Frame)
EventT = TypeVar("EventT")


class UnknownFrame(msgspec.Struct, frozen=True):
    """A well-formed frame of a type that this version does not know."""

    type: str


class _Envelope(msgspec.Struct, frozen=True, rename="camel"):
    type: str
    version: int
    request_id: str | msgspec.UnsetType = msgspec.UNSET


_envelope: Final = msgspec.json.Decoder(_Envelope)


def type_of(frame: Frame | type[Frame] | UnknownFrame) -> str:
    """The frame's `type`, such as `invoke.open`."""
    return frame.type if isinstance(frame, UnknownFrame) else str(frame.__struct_config__.tag)


def write(frame: Frame, *, max_line: int) -> bytes:
    """The frame's line. Raises LimitExceededError `line` or `depth`, LocalProtocolError where a value has no JSON."""
    try:
        line = ndjson.encode_line(frame)
    except (TypeError, ValueError, RecursionError) as error:
        raise LocalProtocolError(f"{type_of(frame)} has no JSON: {error}") from error
    if len(line) - 1 > max_line:
        raise LimitExceededError(
            "line", f"a {type_of(frame)} of {len(line)} bytes is over {max_line}; send it in parts"
        )
    if ndjson.too_deep(line):
        raise LimitExceededError("depth", f"a {type_of(frame)} nests deeper than {limits.JSON_DEPTH}")
    return line


@functools.cache
def _decoder(frames: Any) -> Any:
    """One for all streams: it keeps nothing between lines, and to build it costs more than to read a frame."""
    return msgspec.json.Decoder(frames)


@functools.cache
def _types(frames: Any) -> frozenset[str]:
    return frozenset(type_of(frame) for frame in typing.get_args(frames))


class FrameReader(Generic[FrameT]):
    """Frames out of bytes that come split or merged anywhere.

    `frames` is the union of all frame types of the protocol, of either direction. `wide` are those that carry content:
    only these may have lines over `max_control_line`.
    """

    def __init__(
        self,
        frames: Any,
        *,
        max_line: int = limits.CONTROL_LINE_BYTES,
        wide: tuple[type[Frame], ...] = (),
        max_control_line: int = limits.CONTROL_LINE_BYTES,
        max_unknown: int = limits.UNKNOWN_FRAMES,
    ) -> None:
        self._decoder: msgspec.json.Decoder[FrameT] = _decoder(frames)
        self._types = _types(frames)
        self._buffer = ndjson.LineBuffer(max_line)
        self._wide = wide
        self._max_control_line = max_control_line
        self._unknown_left = max_unknown
        self.request_id = ""
        """requestId of the line that was refused, where it could be read: for the answer to it."""

    def feed(self, data: bytes) -> Iterator[FrameT | UnknownFrame]:
        """The frames that are now complete.

        Raises RemoteProtocolError: `line_too_long`, `too_deep`, `bad_json`, `bad_version`, `bad_message`,
        `too_many_unknown`.
        """
        self._buffer.feed(data)
        for line in self._buffer.lines():
            yield self._decode(line)

    def finish(self) -> Iterator[FrameT | UnknownFrame]:
        """The end of the stream ends its last line. Raises as `feed`, and `cut_short` where that line is not whole."""
        if not self._buffer.pending():
            return
        try:
            yield from self.feed(b"\n")
        except RemoteProtocolError as error:
            if error.code != "bad_json":
                raise
            raise RemoteProtocolError("cut_short", "the stream ended within a line") from error

    def _decode(self, line: bytes) -> FrameT | UnknownFrame:
        try:
            frame = ndjson.decode(line, self._decoder)
        except RemoteProtocolError as error:
            if error.code != "bad_message":
                raise
            return self._classify(line, error)
        if len(line) > self._max_control_line and not isinstance(frame, self._wide):
            raise RemoteProtocolError(
                "line_too_long", f"a {type_of(frame)} over {self._max_control_line} bytes", penalty=10
            )
        return frame

    def _classify(self, line: bytes, error: RemoteProtocolError) -> UnknownFrame:
        """What is wrong with a line that is JSON and no frame of ours."""
        envelope = ndjson.decode(line, _envelope)
        if envelope.request_id is not msgspec.UNSET and _request_id.fullmatch(envelope.request_id):
            self.request_id = envelope.request_id
        if envelope.version != 1:
            raise RemoteProtocolError("bad_version", f"version {envelope.version}, not 1") from error
        if envelope.type in self._types:
            raise error
        if self._unknown_left == 0:
            raise RemoteProtocolError("too_many_unknown", "frames of unknown types", penalty=10) from error
        self._unknown_left -= 1
        return UnknownFrame(envelope.type[: limits.FRAME_WORD_CHARS])


class FrameMachine(Generic[FrameT, EventT]):
    """The receiving half that all machines of line protocols share. A subclass says what a frame does (`_take`), what
    the end of the stream does (`_end`), whether all is said (`_over`), and how it answers a fault (`_refuse`).

    What comes after the end is ignored unread, so an ended machine holds no memory.
    """

    def __init__(self, reader: FrameReader[FrameT]) -> None:
        self._reader = reader
        self._failed = False

    def receive(self, data: bytes) -> list[EventT]:
        """See `StreamMachine`. Raises RemoteProtocolError; events that the same bytes held before the fault are
        dropped, since the exchange as a whole has failed."""
        return self._run(self._reader.feed(data))

    def receive_eof(self) -> list[EventT]:
        """See `StreamMachine`."""
        events = self._run(self._reader.finish())
        if not (self._failed or self._over()):
            try:
                events += self._end()
            except RemoteProtocolError as error:
                self._fail(error)
        return events

    def _run(self, frames: Iterator[FrameT | UnknownFrame]) -> list[EventT]:
        events: list[EventT] = []
        if self._failed or self._over():
            return events
        try:
            for frame in frames:
                events += self._take(frame)
                if self._over():
                    break
        except RemoteProtocolError as error:
            self._fail(error)
        return events

    def _fail(self, error: RemoteProtocolError) -> NoReturn:
        reply = self._refuse(error)
        self._failed = True
        raise RemoteProtocolError(error.code, error.detail, reply=reply, penalty=error.penalty) from error

    def _take(self, frame: FrameT | UnknownFrame) -> Iterable[EventT]:
        raise NotImplementedError  # a subclass says

    def _end(self) -> Iterable[EventT]:
        raise NotImplementedError  # a subclass says

    def _over(self) -> bool:
        raise NotImplementedError  # a subclass says

    def _refuse(self, error: RemoteProtocolError) -> bytes:
        raise NotImplementedError  # a subclass says

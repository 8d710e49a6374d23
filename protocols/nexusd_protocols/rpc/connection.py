"""One end of a JSON-RPC 2.0 connection: bytes in, events out; both ends ask and answer. (specs/rpc.md §2)

    bytes -> line -> object or batch -> Request | Notification | Response | Invalid
    result(), error(), request(), notification() -> bytes to write

What is malformed gives an `Invalid` with the answer to send, and the connection goes on, because lines keep their
frame; only an oversized line ends it. The members of an object stay undecoded (`msgspec.Raw`) until somebody knows
their type: `params` are then decoded once, straight into the method's struct.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from nexusd_protocols import limits
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.ndjson import LineBuffer, too_deep
from nexusd_protocols.rpc.codes import CODES, Refusal

T = TypeVar("T")
Id = int | str

_SAFE_INTEGER: Final = (1 << 53) - 1
_NO_PARAMS: Final = msgspec.Raw(b"{}")
_ABSENT: Final = msgspec.Raw(b"")


class RpcError(msgspec.Struct, frozen=True):
    """The `error` member of an answer. `data.code` is the stable word of our own error table."""

    code: int
    message: str
    data: Any = None


class Request(msgspec.Struct, frozen=True):
    """The other end asks; answer it once with `result` or `error`. `size`: bytes of the object in its line."""

    id: Id
    method: str
    params: msgspec.Raw
    size: int


class Notification(msgspec.Struct, frozen=True):
    """The other end tells."""

    method: str
    params: msgspec.Raw
    size: int


class Response(msgspec.Struct, frozen=True):
    """The answer to a request of ours: exactly one of `result` and `error`."""

    id: Id
    result: msgspec.Raw | None
    error: RpcError | None


class Invalid(msgspec.Struct, frozen=True):
    """What the other end sent is not JSON-RPC. `reply` is to be written (empty while the rest of its batch is due)."""

    code: str
    detail: str
    reply: bytes


Event = Request | Notification | Response | Invalid


class _Members(msgspec.Struct, frozen=True):
    """Every member that JSON-RPC knows; others are ignored."""

    jsonrpc: msgspec.Raw = _ABSENT
    id: msgspec.Raw = _ABSENT
    method: msgspec.Raw = _ABSENT
    params: msgspec.Raw = _ABSENT
    result: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    jsonrpc: str = "2.0"
    id: Id | None
    result: Any


class _ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    jsonrpc: str = "2.0"
    id: Id | None
    error: RpcError


class _Ask(msgspec.Struct, frozen=True, kw_only=True):
    jsonrpc: str = "2.0"
    id: Id
    method: str
    params: Any


class _Tell(msgspec.Struct, frozen=True, kw_only=True):
    jsonrpc: str = "2.0"
    method: str
    params: Any


_encoder: Final = msgspec.json.Encoder()
_members: Final = msgspec.json.Decoder(_Members)
_batch: Final = msgspec.json.Decoder(list[msgspec.Raw])
_text: Final = msgspec.json.Decoder(str)
_id: Final = msgspec.json.Decoder(int | str)
_error: Final = msgspec.json.Decoder(RpcError)
_param_decoders: Final[dict[type[Any], msgspec.json.Decoder[Any]]] = {}


@dataclass(slots=True)
class _Batch:
    """Answers are collected until the last is there, and then go out as one line."""

    due: int = 0
    open: bool = True
    """The line is still being read: more may become due."""
    answers: list[bytes] = field(default_factory=list)


class Connection:
    """The machine. `receive` may leave lines for later: call it with no bytes while `more` is true."""

    def __init__(
        self,
        *,
        max_line: int = limits.RPC_LINE_BYTES,
        max_batch: int = limits.RPC_BATCH,
        max_batch_bytes: int = limits.RPC_BATCH_BYTES,
        lines_per_receive: int = limits.LINES_PER_READ,
    ) -> None:
        self._max_line = max_line
        self._max_batch = max_batch
        self._max_batch_bytes = max_batch_bytes
        self._lines_per_receive = lines_per_receive
        self._buffer = LineBuffer(max_line)
        self._oversized = _refusal_line(None, Refusal("invalid_request", f"A line is at most {max_line} bytes"))
        self._answering: dict[Id, _Batch | None] = {}
        self._asked: set[int] = set()
        self._next_id = 1
        self.more = False

    # --- receiving -------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes as they came. Raises RemoteProtocolError `line_too_long`, with the reply to send, after all events
        before it were given; the connection is then at its end."""
        if data:
            self._buffer.feed(data)
        events: list[Event] = []
        self.more = False
        lines = self._buffer.lines(reply=self._oversized)
        try:
            for count, line in enumerate(lines, 1):
                events.extend(self._line(line))
                if count == self._lines_per_receive:
                    self.more = True
                    break
        except RemoteProtocolError:
            if not events:
                raise
            self.more = True  # the buffer still holds the oversized line, and raises again
        return events

    def receive_eof(self) -> list[Event]:
        """The other end will send nothing more. Raises RemoteProtocolError `cut_short` inside a line."""
        if self._buffer.pending():
            raise RemoteProtocolError("cut_short", "the connection ended inside a line")
        return []

    @property
    def partial(self) -> bool:
        """Whether the beginning of a line has come, and not its end."""
        return self._buffer.pending() > 0

    @property
    def answering(self) -> int:
        """Requests of the other end that are still to be answered."""
        return len(self._answering)

    def _line(self, line: bytes) -> Iterator[Event]:
        if not _is_utf8(line):
            yield self._invalid("parse_error", "Not UTF-8", None)
        elif too_deep(line):
            yield self._invalid("parse_error", f"More than {limits.JSON_DEPTH} levels of nesting", None)
        elif line.lstrip(b" \t").startswith(b"["):
            yield from self._batch_line(line)
        else:
            yield self._object(line, None)

    def _batch_line(self, line: bytes) -> Iterator[Event]:
        if len(line) > self._max_batch_bytes:
            yield self._invalid("invalid_request", f"A batch is at most {self._max_batch_bytes} bytes", None)
            return
        try:
            members = _batch.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            yield self._invalid("parse_error", str(error), None)
            return
        if not 0 < len(members) <= self._max_batch:
            yield self._invalid("invalid_request", f"A batch has 1 to {self._max_batch} members", None)
            return
        batch = _Batch()
        events = [self._object(bytes(member), batch) for member in members]
        batch.open = False
        if batch.due == 0 and batch.answers:
            # nothing but faults: the last of them carries the whole answer
            last = next(i for i in reversed(range(len(events))) if isinstance(events[i], Invalid))
            fault = events[last]
            assert isinstance(fault, Invalid)
            events[last] = Invalid(fault.code, fault.detail, _batch_answer(batch))
        yield from events

    def _object(self, data: bytes, batch: _Batch | None) -> Event:
        try:
            members = _members.decode(data)
        except msgspec.ValidationError:
            return self._invalid("invalid_request", "One JSON object a line", None, batch)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return self._invalid("parse_error", str(error), None, batch)
        if bytes(members.jsonrpc) != b'"2.0"':
            return self._invalid("invalid_request", 'The member `jsonrpc` is "2.0"', None, batch)
        if members.method is not _ABSENT:
            return self._asked_or_told(members, len(data), batch)
        return self._answered(members, batch)

    def _asked_or_told(self, members: _Members, size: int, batch: _Batch | None) -> Event:
        try:
            method = _text.decode(members.method)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return self._invalid("invalid_request", "The member `method` is a string", None, batch)
        params = members.params if members.params is not _ABSENT else _NO_PARAMS
        if members.id is _ABSENT:
            return Notification(method, params, size)
        request_id = _parse_id(members.id)
        if request_id is None:
            detail = f"The member `id` is an integer, or a string of at most {limits.RPC_ID_CHARS} characters"
            return self._invalid("invalid_request", detail, None, batch)
        if request_id in self._answering:
            # answering under this id would be taken for the answer to the first
            return self._invalid("invalid_request", f"The id {request_id!r} is in use", None, batch)
        self._answering[request_id] = batch
        if batch is not None:
            batch.due += 1
        return Request(request_id, method, params, size)

    def _answered(self, members: _Members, batch: _Batch | None) -> Event:
        answer_id = _parse_id(members.id) if members.id is not _ABSENT else None
        has_result, has_error = members.result is not _ABSENT, members.error is not _ABSENT
        if has_result == has_error:
            return self._invalid("invalid_request", "Neither a request nor an answer", answer_id, batch)
        error = None
        if has_error:
            try:
                error = _error.decode(members.error)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                return self._invalid("invalid_request", "The member `error` is {code, message, data?}", None, batch)
        if not isinstance(answer_id, int) or answer_id not in self._asked:
            # a late answer to what was given up, or an error that the other end could not attribute
            detail = error.message if error is not None else "An answer that nobody waits for"
            return Invalid("unknown_answer", detail, b"")
        self._asked.remove(answer_id)
        return Response(answer_id, members.result if has_result else None, error)

    def _invalid(self, code: str, detail: str, request_id: Id | None, batch: _Batch | None = None) -> Invalid:
        line = _refusal_line(request_id, Refusal(code, detail))
        if batch is None:
            return Invalid(code, detail, line)
        batch.answers.append(line[:-1])
        return Invalid(code, detail, b"")

    # --- answering -------------------------------------------------------------------------------------------------

    def result(self, request_id: Id, result: object) -> bytes:
        """The line that answers a request; empty while the rest of its batch is due. A result over the line limit
        becomes the error `too_large`."""
        line = _encoder.encode(_Answer(id=request_id, result=result)) + b"\n"
        if len(line) > self._max_line:
            line = _refusal_line(request_id, Refusal("too_large", "The answer is too large: ask for less at once"))
        return self._answer(request_id, line)

    def error(self, request_id: Id, refusal: Refusal) -> bytes:
        """The line that refuses a request, as `result`."""
        return self._answer(request_id, _refusal_line(request_id, refusal))

    def failure(self, request_id: Id, message: str, data: object = None) -> bytes:
        """Answer with an error outside the table: what a provider says of its own failure."""
        error = RpcError(CODES["invoke_failed"].number, message, data)
        return self._answer(request_id, _encoder.encode(_ErrorAnswer(id=request_id, error=error)) + b"\n")

    def _answer(self, request_id: Id, line: bytes) -> bytes:
        try:
            batch = self._answering.pop(request_id)
        except KeyError:
            raise LocalProtocolError(f"request {request_id!r} is not waiting for an answer") from None
        if batch is None:
            return line
        batch.due -= 1
        batch.answers.append(line[:-1])
        return _batch_answer(batch) if batch.due == 0 and not batch.open else b""

    # --- asking ----------------------------------------------------------------------------------------------------

    def request(self, method: str, params: object) -> tuple[int, bytes]:
        """Ask. Returns the id under which the `Response` comes, and the line."""
        request_id = self._next_id
        self._next_id += 1
        self._asked.add(request_id)
        return request_id, _encoder.encode(_Ask(id=request_id, method=method, params=params)) + b"\n"

    def forget(self, request_id: int) -> None:
        """Nobody waits for this answer any more; it is ignored when it comes."""
        self._asked.discard(request_id)


def notification(method: str, params: object) -> bytes:
    """The line of a notification."""
    return _encoder.encode(_Tell(method=method, params=params)) + b"\n"


def unattributed_error(refusal: Refusal) -> bytes:
    """The line of an error that answers no request in particular (`id` is null)."""
    return _refusal_line(None, refusal)


def decode_params(params: msgspec.Raw, into: type[T]) -> T | Refusal:
    """Decode parameters into a method's struct; the refusal names the field. Positional parameters are refused."""
    decoder = _param_decoders.get(into)
    if decoder is None:
        decoder = _param_decoders[into] = msgspec.json.Decoder(into)
    try:
        value: T = decoder.decode(params)
    except msgspec.ValidationError as error:
        return Refusal("invalid_params", str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Refusal("parse_error", str(error))
    return value


def _is_utf8(line: bytes) -> bool:
    """Checked for the whole line, because the decoder does not look into what it skips."""
    if line.isascii():
        return True
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parse_id(raw: msgspec.Raw) -> Id | None:
    try:
        value = _id.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if isinstance(value, str):
        return value if len(value) <= limits.RPC_ID_CHARS else None
    return value if abs(value) <= _SAFE_INTEGER else None


def _refusal_line(request_id: Id | None, refusal: Refusal) -> bytes:
    row = refusal.row
    data: dict[str, object] = {"code": row.code, "try": row.try_, "exitCode": row.exit_code}
    if refusal.data is not None:
        data["detail"] = refusal.data
    return _encoder.encode(_ErrorAnswer(id=request_id, error=RpcError(row.number, refusal.message, data))) + b"\n"


def _batch_answer(batch: _Batch) -> bytes:
    return b"[" + b",".join(batch.answers) + b"]\n"

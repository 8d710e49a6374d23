"""JSON-RPC batches to one node, from Trio: one worker thread, bounded answers, deadlines.

web3 is a library for threads (its asynchronous side needs asyncio), and costs 0.9 s and 60 MB to import. So it is
imported in the worker thread by the first call. What a batch holds is checked here: web3 raises for a whole batch what
only one of its calls did, such as a transfer that would fail.

Public nodes take ten calls at a time, or three, or no batches at all, and so many in a second. A batch that is refused
as a whole is asked in halves, down to plain calls, and what the node took is remembered. One that comes too soon is
asked again while there is time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import trio

from nexusd.chain.views import ChainError, ChainFault, LimitedError, WholeRefusedError
from nexusd.chain.wire import ANSWER_BYTES, Exchange, Wire
from nexusd.recursion import limit_kept
from nexusd_protocols import ndjson

BATCH_CALLS: Final = 100
"""In one batch. Public nodes take between a hundred and a thousand."""
DETAIL_CHARS: Final = 200
"""Of a node's own words that are kept."""
TRY_MORE: Final = 256
"""Exchanges until more calls than the node took are tried at a time."""
AGAIN_S: Final = 0.25
"""Before the first call that is made again, at least; each further one waits twice as long."""
TOO_MANY_REQUESTS: Final = 429
LIMIT_EXCEEDED: Final = -32005
"""Codes of nodes' errors: the first is HTTP's, the second (EIP-1474) is also what logs without end are refused with."""

_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}")
_DATA: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*")


class Call(NamedTuple):
    """One request of a batch."""

    method: str
    params: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A call of a batch was answered with an error. `data` is what a contract gave as its reason."""

    code: int
    message: str
    data: str = ""


Answer = Any
"""The result of a call, or Refused."""


class _Entry:
    """Calls that wait to go along with others."""

    __slots__ = ("answers", "calls", "fault")

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = calls
        self.answers: list[Answer] | None = None
        self.fault: ChainFault | None = None


class Rpc:
    """One node."""

    def __init__(self, url: str, *, max_answer: int = ANSWER_BYTES) -> None:
        """Connects on first use. Raises ValueError for what is no http or https URL."""
        self._wire = Wire(url, max_answer=max_answer)
        self._thread = trio.CapacityLimiter(1)
        self._turn = trio.Lock()
        self._waiting: list[_Entry] = []
        self._encode: Callable[[list[tuple[str, Any]]], bytes] | None = None
        self._most = BATCH_CALLS
        """Calls that the node takes at a time; 0: no batches."""
        self._taken = 0

    async def load(self) -> None:
        """Have what batches are written with: on a busy machine web3 comes slower than any node may be."""
        await trio.to_thread.run_sync(
            self._writer, abandon_on_cancel=True, limiter=self._thread, thread_name="nexusd-chain"
        )

    async def batch(self, calls: Sequence[Call], *, timeout: float) -> list[Answer]:
        """The answers, in the order of the calls, of which there are at most BATCH_CALLS: as many at a time as the node
        takes, so that they may be of different blocks. `timeout` counts waiting for other batches too. Raises
        ChainError."""
        answers: list[Answer] = []
        most, pause = self._most, AGAIN_S
        limited: LimitedError | None = None
        with trio.move_on_after(timeout) as scope:
            while len(answers) < len(calls):
                part = calls[len(answers) : len(answers) + max(1, most)]
                left = scope.deadline - trio.current_time()
                try:
                    answers += await self._in_thread(part, left, plain=most == 0)
                except WholeRefusedError:
                    if most == 0:
                        raise
                    most = len(part) // 2
                except LimitedError as error:
                    limited = error
                    wait = max(pause, error.after_s or 0.0)
                    if wait >= left:
                        raise
                    await trio.sleep(wait)
                    pause *= 2
                else:
                    limited, pause = None, AGAIN_S
                    self._remember(most)
            return answers
        raise limited or ChainError("deadline")

    def _remember(self, most: int) -> None:
        """What the node took. Now and then more is tried: a refusal may have had another reason."""
        self._taken += 1
        self._most = most if self._taken % TRY_MORE else min(BATCH_CALLS, max(1, 2 * most))

    async def _in_thread(self, calls: Sequence[Call], seconds: float, *, plain: bool) -> list[Answer]:
        exchange = Exchange(seconds)
        try:
            return await trio.to_thread.run_sync(
                self._exchange,
                calls,
                exchange,
                plain,
                abandon_on_cancel=True,
                limiter=self._thread,
                thread_name="nexusd-chain",
            )
        except trio.Cancelled:
            self._wire.abort(exchange)
            raise

    async def shared(self, calls: Sequence[Call], *, timeout: float) -> list[Answer]:
        """The same for a few calls with short answers: those that wait for the thread together go in one batch, so that
        a hundred at once take a few exchanges and not a hundred. Raises ChainError."""
        entry = _Entry(calls)
        self._waiting.append(entry)
        with trio.move_on_after(timeout) as scope:
            try:
                async with self._turn:
                    if entry.answers is None and entry.fault is None:
                        await self._lead(scope.deadline - trio.current_time())
            finally:
                if entry in self._waiting:
                    self._waiting.remove(entry)
        if entry.answers is not None:
            return entry.answers
        fault = entry.fault or ChainFault("deadline")
        raise ChainError(fault.code, fault.detail)

    async def _lead(self, timeout: float) -> None:
        """Ask for all that wait, the first first, as many as one batch holds. If whoever leads is out of time or gone,
        the others are where they were, and one of them leads."""
        taken: list[_Entry] = []
        size = 0
        for entry in self._waiting:
            size += len(entry.calls)
            if taken and size > BATCH_CALLS:
                break
            taken.append(entry)
        try:
            answers = iter(await self.batch([call for entry in taken for call in entry.calls], timeout=timeout))
        except ChainError as error:
            if error.fault.code != "deadline":
                for entry in taken:
                    entry.fault = error.fault
                    self._waiting.remove(entry)
            return
        for entry in taken:
            entry.answers = [next(answers) for _ in entry.calls]
            self._waiting.remove(entry)

    async def call(self, method: str, *params: Any, timeout: float) -> Answer:
        """The answer to one call. Raises ChainError."""
        (answer,) = await self.batch([Call(method, params)], timeout=timeout)
        return answer

    def close(self) -> None:
        """Let go of the connection. The next batch makes another one."""
        self._wire.close()

    # --- the thread ---------------------------------------------------------------------------------------------------
    def _exchange(self, calls: Sequence[Call], exchange: Exchange, plain: bool) -> list[Answer]:
        body = self._writer()([(call.method, list(call.params)) for call in calls])
        first = _first_id(body)
        if plain:
            body = body[1:-1]  # an array of one
        return read_batch(self._wire.post(body, exchange), first, len(calls), plain=plain)

    def _writer(self) -> Callable[[list[tuple[str, Any]]], bytes]:
        if self._encode is None:
            self._encode = _encoder()
        return self._encode


def _encoder() -> Callable[[list[tuple[str, Any]]], bytes]:
    """What writes batches, with ids that go on from one to the next."""
    with limit_kept():
        from web3.providers.base import JSONBaseProvider

    encode: Callable[[list[tuple[str, Any]]], bytes] = JSONBaseProvider().encode_batch_rpc_request
    return encode


def _first_id(body: bytes) -> int:
    first: int = msgspec.json.decode(body)[0]["id"]
    return first


def read_batch(body: bytes, first: int, count: int, *, plain: bool = False) -> list[Answer]:
    """The answers by their ids. Each call has exactly one, or the batch counts for nothing. `plain`: one call was asked
    that was no batch. Raises ChainError."""
    try:
        answers = ndjson.value(body)
    except ValueError as error:
        raise ChainError("bad_answer", "not JSON") from error
    if plain and isinstance(answers, dict) and answers.get("id") is not None:
        answers = [answers]
    elif (refused := _of_the_whole(answers, count)) is not None:
        raise LimitedError(refused.message) if _is_limit(refused) else WholeRefusedError(refused.message)
    if not isinstance(answers, list) or len(answers) != count:
        raise ChainError("bad_answer", "part of a batch")
    found: dict[int, Answer] = {}
    for answer in answers:
        place = answer.get("id") if isinstance(answer, dict) else None
        if type(place) is not int or not first <= place < first + count or place in found:
            raise ChainError("bad_answer", "answers what was not asked")
        if answer.get("error") is not None:
            found[place] = _refusal(answer["error"])
            if _is_limit(found[place]):
                raise LimitedError(found[place].message)
        elif "result" in answer:
            found[place] = answer["result"]
        else:
            raise ChainError("bad_answer", "neither a result nor an error")
    return [found[first + place] for place in range(count)]


def _of_the_whole(answers: Any, count: int) -> Refused | None:
    """The error that a whole batch is answered with: alone, or as geth has it, as that of its first call."""
    if isinstance(answers, list) and len(answers) == 1 < count and isinstance(answers[0], dict):
        answers = answers[0]
    return _refusal(answers["error"]) if isinstance(answers, dict) and answers.get("error") else None


def _is_limit(refused: Refused) -> bool:
    return refused.code == TOO_MANY_REQUESTS or (refused.code == LIMIT_EXCEEDED and "rate" in refused.message.lower())


def _refusal(error: object) -> Refused:
    if not isinstance(error, dict):
        raise ChainError("bad_answer", "an error of another form")
    code, message, data = error.get("code"), error.get("message"), error.get("data")
    return Refused(
        code if type(code) is int else 0,
        message[:DETAIL_CHARS] if isinstance(message, str) else "",
        data[: 8 * DETAIL_CHARS] if isinstance(data, str) else "",
    )


# --- results ----------------------------------------------------------------------------------------------------------
def quantity(answer: Answer) -> int:
    """A whole number, of 256 bits at most. Raises ChainError."""
    if isinstance(_given(answer), str) and _QUANTITY.fullmatch(answer):
        return int(answer, 16)
    raise ChainError("bad_answer", "not a number")


def data(answer: Answer, size: int | None = None) -> bytes:
    """Bytes, `size` of them if given. Raises ChainError."""
    if not isinstance(_given(answer), str) or not _DATA.fullmatch(answer):
        raise ChainError("bad_answer", "not bytes")
    found = bytes.fromhex(answer[2:])
    if size is not None and len(found) != size:
        raise ChainError("bad_answer", f"not {size} bytes")
    return found


def flag(answer: Answer) -> bool:
    """A bool of a contract's. Raises ChainError."""
    number = int.from_bytes(data(answer, 32), "big")
    if number > 1:
        raise ChainError("bad_answer", "neither true nor false")
    return number == 1


def record(answer: Answer) -> dict[str, Any]:
    """An object. Raises ChainError."""
    if not isinstance(_given(answer), dict):
        raise ChainError("bad_answer", "not an object")
    found: dict[str, Any] = answer
    return found


def _given(answer: Answer) -> Answer:
    if isinstance(answer, Refused):
        raise ChainError("refused", answer.message)
    return answer

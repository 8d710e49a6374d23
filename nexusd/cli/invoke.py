"""invoke: call a capability, and show what comes back, whole or as it comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from cyclopts import Parameter

from nexusd.cli import stdin
from nexusd.cli.options import STDIN
from nexusd.cli.outcome import Answer, Incomplete, Stream
from nexusd.cli.session import current
from nexusd.cli.terminal import clean, counted, duration, piece, size
from nexusd.cli.usage import UsageError
from nexusd.cli.waiting import PaymentNotice, given_up, lost
from nexusd.client.errors import NexusError
from nexusd.client.invocation import kept
from nexusd_protocols import limits
from nexusd_protocols.invoke.output import Pieces
from nexusd_protocols.rpc.schema import UNIT_WORDS, InvokeEnd, InvokeEvent, PaymentSummary

if TYPE_CHECKING:
    from nexusd.client.stream import CallStream

PAID_DURATION_S: Final = 300.0

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]


class InvokeResult(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The whole of a call. `output` is the remote capability's: untrusted."""

    output: Any
    input_bytes: int
    output_bytes: int
    duration_ms: int
    payment: PaymentSummary | None = None


class InvokeEnded(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The last line of a stream that ended well: without it, something is missing."""

    end: InvokeEnd


def invoke(
    peer: str,
    capability: str,
    input: str | None = None,  # noqa: A002 - the name in the help
    /,
    *,
    stream: Flag = False,
    text: Flag = False,
    max_duration: float | None = None,
    max_input: int | None = None,
    max_output: int = limits.INVOKE_MAX_OUTPUT_BYTES,
    max_price: str | None = None,
    tab: Flag = False,
    again: str | None = None,
    anyway: Flag = False,
) -> Answer[InvokeResult] | Incomplete | Stream[InvokeEvent | InvokeEnded]:
    """Call a capability.

    Parameters
    ----------
    peer
        Its id, or the last 6 characters or more.
    capability
        Name of the capability.
    input
        Text, or a JSON object or array; @FILE reads a file, - (or nothing, with a pipe) standard input.
    stream
        Print each event as it comes.
    text
        Send the input as text even if it is JSON.
    max_duration
        Seconds that the call may take (default: 30; of one that is paid 300, since a person may have to agree).
    max_input
        Bytes of input that both sides allow; as many as are given, by default.
    max_output
        Bytes of output that both sides allow.
    max_price
        What the call may cost, in whole tokens, such as 0.10; nothing is paid without it. The policy decides too.
    tab
        Pay as the output comes, at most --max-price; both sides stop where the other does not keep to it.
    again
        Id of an earlier call as `nexus pay history` shows it, or its first 6 characters or more: ask again for what it
        paid for, which costs nothing more. Everything else must be as it was.
    anyway
        Send the input though it holds what looks like key material, where the daemon looks and leaves that to you.
    """
    value = _input(input, as_text=text)
    if tab and max_price is None:
        raise UsageError("--tab needs --max-price", "say what the call may cost at most")
    if again is not None and (tab or max_price is None):
        raise UsageError("--again needs --max-price, and goes without --tab", "a tab is not taken up again")
    if again is not None:
        again = current().call("pay.explain", id=again).purchase.id  # which its beginning may stand for
    if max_duration is None:
        max_duration = limits.INVOKE_MAX_DURATION_MS / 1000 if max_price is None else PAID_DURATION_S
    call = current().nexus.stream(
        peer,
        capability,
        value,
        stream=stream,
        max_duration_ms=round(max_duration * 1000),
        max_input_bytes=max_input,
        max_output_bytes=max_output,
        max_price=max_price,
        tab=tab,
        again=again,
        anyway=anyway,
    )
    if stream:
        return Stream(_events(call, paid=max_price is not None), _Live().text, _closing)
    return _whole(call, paid=max_price is not None)


def _input(given: str | None, *, as_text: bool) -> Any:
    limit = limits.INVOKE_INPUT_CEILING_BYTES
    if given is None:
        text = stdin.read(limit) if stdin.piped() else ""
    elif given == STDIN:
        text = stdin.read(limit)
    elif given.startswith("@"):
        text = _file(Path(given[1:]), limit)
    else:
        text = given
    if not as_text and text.lstrip()[:1] in ("{", "["):
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            pass  # text that only begins like JSON is text
    return text


def _file(path: Path, limit: int) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", "text that begins with @ goes through standard input"
        ) from None
    return stdin.decode(raw, limit, str(path))


def _pieces(call: CallStream, *, paid: bool) -> Iterator[InvokeEvent]:
    """What comes of a call; of one that may cost something, the first may wait for a person, or a settlement."""
    try:
        with call, PaymentNotice(call.invocation) if paid else nullcontext() as notice:
            for event in call:
                if notice is not None:
                    notice.came()
                yield event
    except NexusError as error:
        if paid and error.code == "connection_lost":  # "try again" would pay again
            error.try_ = lost(call.invocation)
        raise
    except (KeyboardInterrupt, GeneratorExit):  # the latter: while a piece was printed
        if paid and (failure := given_up(call.invocation)) is not None:
            raise failure from None
        raise


def _events(call: CallStream, *, paid: bool) -> Iterator[InvokeEvent | InvokeEnded]:
    yield from _pieces(call, paid=paid)
    assert call.end is not None
    yield InvokeEnded(end=call.end)


def _whole(call: CallStream, *, paid: bool) -> Answer[InvokeResult] | Incomplete:
    output = Pieces()
    try:
        with kept(output, paid=paid):
            for event in _pieces(call, paid=paid):
                if event.event != "progress":
                    output.add(event.data)
    except NexusError as error:
        if not (paid and output.bytes):
            raise
        return Incomplete(error, _output(output.value()))
    end = call.end
    assert end is not None
    result = InvokeResult(
        output=output.value(),
        input_bytes=end.input_bytes,
        output_bytes=end.output_bytes,
        duration_ms=end.duration_ms,
        payment=end.payment,
    )
    return Answer(result, _result)


def receipt_line(payment: PaymentSummary) -> str:
    """What was paid, for people."""
    word = {"paid": "paid", "pending": "payment pending:", "unused": "not charged:", "unknown": "perhaps charged:"}
    receipt = f"receipt ({payment.receipt})" if payment.receipt != "verified" else "receipt"
    if not payment.receipt.startswith("verified"):
        receipt = f"no good {receipt}, payment"
    note = f" ({payment.note})" if payment.note else ""
    sent = f", transaction {payment.transaction}" if payment.transaction else ""
    cost = f"{payment.amount} {payment.asset} on {payment.network}"
    if payment.unit:
        cost += f" for {counted(payment.units, *UNIT_WORDS[payment.unit])}"
    if payment.tabs > 1:
        cost += f" in {payment.tabs} tabs"
    return clean(f"{word[payment.state]} {cost}{sent}; {receipt} {payment.id}{note}")


def _result(result: InvokeResult) -> str:
    if result.payment is not None:
        current().say(receipt_line(result.payment))
    return _output(result.output)


def _output(output: Any) -> str:
    text = output if isinstance(output, str) else json.dumps(output, indent=2)
    return piece(text).removesuffix("\n")


def _closing(item: InvokeEvent | InvokeEnded) -> str:
    """What people are told behind the last piece."""
    if not isinstance(item, InvokeEnded):
        return ""
    end = item.end
    done = f"done: {size(end.input_bytes)} in, {size(end.output_bytes)} out, {duration(end.duration_ms)}"
    return done if end.payment is None else f"{done}\n{receipt_line(end.payment)}"


class _Live:
    """Text for people while it comes: pieces of text are joined, other events have a line each."""

    def __init__(self) -> None:
        self._open_line = False

    def text(self, item: InvokeEvent | InvokeEnded) -> str:
        """What to print for one item."""
        if isinstance(item, InvokeEnded):
            return self._close()
        if isinstance(item.data, str) and item.event in ("token", "partial", "result"):
            shown = piece(item.data)
            self._open_line = not shown.endswith("\n") if shown else self._open_line
            return shown
        word = "" if item.event in ("partial", "result") else f"{piece(item.event)}: "
        return f"{self._close()}{word}{json.dumps(item.data)}\n"

    def _close(self) -> str:
        """End a line that pieces of text left open."""
        left_open, self._open_line = self._open_line, False
        return "\n" if left_open else ""

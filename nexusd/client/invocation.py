"""The two sides of a call as a client sees them: its request, its pieces and their credit. Pure. (specs/rpc.md §5)"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from nexusd.client.errors import NexusError
from nexusd.client.exchange import told
from nexusd_protocols import limits
from nexusd_protocols.credit import Credit
from nexusd_protocols.invoke.output import Pieces
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.connection import Event, Notification, notification

_PIECE_BYTES: Final = limits.RPC_PIECE_BYTES
_TEXT_CHARS: Final = _PIECE_BYTES // 4
"""A character is at most four bytes of UTF-8."""
_GRANT_SHARE: Final = 4


def invoke_params(
    peer: str, capability: str, value: Any, *, pieces_follow: bool, **fields: Any
) -> tuple[schema.InvokeParams, Iterator[str] | None]:
    """The request of a call; and, where `value` is text too large for one piece, the pieces to send behind it instead.
    `fields` are those of InvokeParams; None stands for what fits the input."""
    if value is not msgspec.UNSET and pieces_follow:
        raise TypeError("a call has `input` or `pieces`, not both")
    textual = isinstance(value, str) or value is msgspec.UNSET
    split = None
    if isinstance(value, str) and len(value) > _TEXT_CHARS and (size := len(value.encode())) > _PIECE_BYTES:
        if fields.get("max_input_bytes") is None:
            fields["max_input_bytes"] = size
        split, value = _split(value), msgspec.UNSET
    if fields.get("input_format") is None:
        fields["input_format"] = "text/plain" if textual else "application/json"
    final = not pieces_follow and split is None
    return schema.InvokeParams(peer=peer, capability=capability, input=value, final=final, **fields), split


def _split(text: str) -> Iterator[str]:
    return (text[start : start + _TEXT_CHARS] for start in range(0, len(text), _TEXT_CHARS))


def failure_of(end: schema.InvokeEnd) -> NexusError | None:
    """Why a call did not end well; None where it did."""
    if end.error is None:
        return None
    code, message = str(end.error.get("code")), str(end.error.get("message"))
    data = {name: end.error[name] for name in ("remoteCode", "reason", "prices") if end.error.get(name) is not None}
    if end.payment is not None:
        data["payment"] = msgspec.to_builtins(end.payment)
    failure = NexusError.of(code, message, data or None)
    paid = end.payment
    if paid is None:
        return failure
    if code == "price_reached":
        failure.try_ += f"; `nexus pay explain {paid.id}` tells what it cost"
        return failure
    if paid.state == "unused":
        failure.try_ += (
            f"; nothing is charged, and what was signed ({paid.id}) counts as spent only until its time is over"
        )
        if code == "invoke_cancelled" and not paid.tabs:  # not for what the payment is to blame for, or the input
            failure.try_ += f"; until then the same call with `--again {paid.id}` signs nothing anew"
        return failure
    if paid.tabs or paid.receipt.startswith("verified"):  # what came was paid for, and nothing else
        failure.try_ = f"what came was paid for: see `nexus pay explain {paid.id}`; a new call is paid anew"
    else:  # "try again" would pay again
        failure.try_ = (
            f"{paid.amount} {paid.asset} may be charged: do not pay anew, but see `nexus pay explain {paid.id}`, "
            f"or make the same call with `--again {paid.id}`, which costs nothing more"
        )
    return failure


@contextmanager
def kept(output: Pieces, *, paid: bool) -> Iterator[None]:
    """In `with`, while `output` comes of a call: what came of one that may have been paid for goes along with the error
    that ends it early."""
    try:
        yield
    except NexusError as error:
        if paid and output.bytes:
            error.data = {**(error.data or {}), "output": output.value()}
        raise


class _Granting:
    """Gives credit back for what was read, a quarter of the window at a time."""

    def __init__(self, invocation: str, window: int) -> None:
        self._invocation = invocation
        self._window = window
        self._read = 0

    def consumed(self, size: int) -> bytes:
        """The line that grants credit, or nothing yet."""
        self._read += size
        if self._read * _GRANT_SHARE < self._window:
            return b""
        grant, self._read = self._read, 0
        return notification("invoke.credit", schema.InvokeCreditParams(invocation=self._invocation, bytes=grant))


class CallerSide:
    """One call that this client makes."""

    def __init__(self, begun: schema.Invocation, window: int) -> None:
        self.invocation = begun.invocation
        self._input = Credit(begun.credit)
        self._granting = _Granting(begun.invocation, window)

    def take(self, event: Event) -> schema.InvokeEvent | schema.InvokeEnd | None:
        """What an event means for this call. Credit for its input is added here."""
        params = told(event)
        if getattr(params, "invocation", None) != self.invocation:
            return None
        if isinstance(params, schema.InvokeCreditParams):
            self._input.grant(params.bytes)
        return params if isinstance(params, schema.InvokeEvent | schema.InvokeEnd) else None

    def consumed(self, event: Event) -> bytes:
        """The output in `event` was used: the line that asks for more, or nothing yet."""
        return self._granting.consumed(event.size) if isinstance(event, Notification) else b""

    @property
    def may_send(self) -> bool:
        """Whether there is credit for a piece of input."""
        return self._input.usable

    def input(self, data: Any, *, final: bool) -> bytes:
        """The line of a piece of input (UNSET for none). Uses credit."""
        line = notification(
            "invoke.input", schema.InvokeInputParams(invocation=self.invocation, data=data, final=final)
        )
        self._input.take(len(line) - 1)
        return line

    def cancel(self, reason: str) -> bytes:
        """The line that gives the call up."""
        return notification("invoke.cancel", schema.InvokeCancelParams(invocation=self.invocation, reason=reason))


class ProviderSide:
    """One call that this client answers."""

    def __init__(self, request_id: int | str, call: schema.IncomingCall) -> None:
        self.request_id = request_id
        self.call = call
        self._output = Credit(call.credit)
        self._granting = _Granting(call.invocation, limits.RPC_CREDIT_BYTES)

    def grant(self, size: int) -> None:
        """The daemon takes `size` bytes more of output."""
        self._output.grant(size)

    @property
    def may_send(self) -> bool:
        """Whether there is credit for a piece of output."""
        return self._output.usable

    def output(self, event: str, data: Any, units: int | None = None) -> bytes:
        """The line of a piece of output, which counts so many tokens. Uses credit."""
        params = schema.CallEventParams(invocation=self.call.invocation, event=event, data=data, units=units)
        line = notification("call.event", params)
        self._output.take(len(line) - 1)
        return line

    def consumed(self, size: int) -> bytes:
        """A piece of input was used: the line that asks for more, or nothing yet."""
        return self._granting.consumed(size)

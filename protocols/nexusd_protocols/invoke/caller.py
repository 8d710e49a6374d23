"""The end of a call that makes it.

It never waits for the provider before it sends: published providers send no invoke.accept, so the first event, done or
demand implies it, and input may go out before any of them. (specs/invoke.md §3.1)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

import msgspec

from nexusd_protocols import agent_proof, ndjson
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.frames import UnknownFrame
from nexusd_protocols.ids import parse_capability_name
from nexusd_protocols.invoke import events, frames
from nexusd_protocols.invoke.commands import (
    CallerCommand,
    Cancel,
    Chunk,
    Exhausted,
    Grow,
    Open,
    OpenTab,
    Pay,
    TimedOut,
)
from nexusd_protocols.invoke.events import CallerEvent
from nexusd_protocols.invoke.frames import PROTOCOL, Code, InvokeFrame
from nexusd_protocols.invoke.quota import Limits
from nexusd_protocols.invoke.side import Moves, Side, State, Table, carrying, given
from nexusd_protocols.limits import ERROR_MESSAGE_CHARS, REASON_CHARS

_ENDS: Final[Moves] = {
    frames.DoneFrame: State.PEER_ENDED,
    frames.ErrorFrame: State.PEER_ENDED,
    frames.CancelFrame: State.PEER_ENDED,
}
_RUNS: Final[Moves] = {frames.AcceptFrame: State.RUNNING, frames.EventFrame: State.RUNNING}
_GIVES_UP: Final[Moves] = {Cancel: State.ENDED, TimedOut: State.ENDED}


class Caller(Side[CallerEvent]):
    """A `StreamMachine` and `HoldsBack`: commands Open, Chunk, Pay, Grow, OpenTab, Exhausted, Cancel, TimedOut; events
    of `CallerEvent`.

    `local` and `peer` are the stream's ends. A provider that goes past the limits which Open states is refused with
    `output_too_large`; one that ends its stream before done, error or cancel with `cut_short`.
    """

    RECEIVES: ClassVar[Table] = {
        State.START: {},
        State.OPEN: {**_RUNS, frames.PaymentRequiredFrame: State.DEMANDED, **_ENDS},
        State.DEMANDED: _ENDS,
        State.PAID: {**_RUNS, **_ENDS},
        State.RUNNING: {frames.EventFrame: State.RUNNING, frames.PaymentDueFrame: State.RUNNING, **_ENDS},
    }
    SENDS: ClassVar[Table] = {
        State.START: {Open: State.OPEN, **_GIVES_UP},
        State.OPEN: {Chunk: State.OPEN, **_GIVES_UP},
        State.DEMANDED: {Chunk: State.DEMANDED, Pay: State.PAID, **_GIVES_UP},
        State.PAID: {Chunk: State.PAID, **_GIVES_UP},
        State.RUNNING: {
            Chunk: State.RUNNING,
            Grow: State.RUNNING,
            OpenTab: State.RUNNING,
            Exhausted: State.RUNNING,
            **_GIVES_UP,
        },
    }

    _accepted = False

    # --- sending ------------------------------------------------------------------------------------------------------
    def send(self, command: CallerCommand) -> bytes:
        """See `StreamMachine`. Raises LimitExceededError (`input`, `line`) for a piece that is too much."""
        following = self._next_state(command)
        if following is None:
            return b""
        match command:
            case Open():
                line = self._open(command)
            case Chunk():
                line = self._chunk(command)
            case Pay():
                line = self._pay(command)
            case Grow() | OpenTab() | Exhausted():
                line = self._tab(command)
            case Cancel(reason):
                line = self._cancel(reason)
            case _:  # TimedOut
                line = self._cancel("timeout")
        self._state = following
        return line

    def _open(self, command: Open) -> bytes:
        try:
            frame = self._open_frame(command)
        except (TypeError, ValueError, RecursionError) as error:
            raise LocalProtocolError(f"not a call: {error}") from error
        line = self._write(frame)
        self._request_id = frame.request_id
        self._limits = Limits.stated(frame)
        return line

    def _open_frame(self, command: Open) -> frames.OpenFrame:
        frame = frame_of(command)
        frame = agent_proof.prove(
            frame,
            command.author,
            protocol=PROTOCOL,
            exchange=command.request_id,
            sender=self._local,
            receiver=self._peer,
            content=frame.content,
        )
        # what we send must be what we would accept
        return msgspec.convert(msgspec.to_builtins(frame), frames.OpenFrame)

    def _chunk(self, command: Chunk) -> bytes:
        if self._input_final:
            raise LocalProtocolError("the input has ended")
        if command.data is msgspec.UNSET and not command.final:
            raise LocalProtocolError("a chunk without data only makes sense as the last")
        self._window.check()
        data = "" if command.data is msgspec.UNSET else command.data
        line = self._write_content(
            frames.ChunkFrame(
                version=1,
                request_id=self._request_id,
                seq=self._input.pieces,
                is_final_input=command.final,
                data=data,
            ),
            self._input,
            self._limits.max_input_bytes,
            "input",
        )
        self._input_final = command.final
        return line

    def _pay(self, command: Pay) -> bytes:
        if command.proof is None and command.payment is None:
            raise LocalProtocolError("neither a proof nor a payment")
        proof = msgspec.UNSET if command.proof is None else command.proof
        meta = carrying(payment=command.payment)
        return self._write(frames.PaymentProofFrame(version=1, request_id=self._request_id, proof=proof, meta=meta))

    def _tab(self, command: Grow | OpenTab | Exhausted) -> bytes:
        frame = frames.PaymentFrame(version=1, request_id=self._request_id, tab=command.tab)
        match command:
            case Grow(_, amount, signature, final):
                frame = msgspec.structs.replace(frame, amount=str(amount), signature=signature, final=final)
            case OpenTab(_, payment, final):
                frame = msgspec.structs.replace(frame, meta=carrying(payment=payment), final=final)
            case Exhausted():
                frame = msgspec.structs.replace(frame, final=True)
        return self._write(frame)

    def _cancel(self, reason: str) -> bytes:
        if self._state is State.START:
            return b""
        return self._write(frames.CancelFrame(version=1, request_id=self._request_id, reason=reason[:REASON_CHARS]))

    # --- receiving ----------------------------------------------------------------------------------------------------
    def _take(self, frame: InvokeFrame | UnknownFrame) -> Iterator[CallerEvent]:
        known = self._follow(frame)
        if isinstance(known, frames.AcceptFrame) and not known.accepted:
            self._state = State.PEER_ENDED
            yield events.Failed(Code.FORBIDDEN, "the provider did not accept the call")
            return
        if not self._accepted and isinstance(known, frames.AcceptFrame | frames.EventFrame | frames.DoneFrame):
            self._accepted = True
            start = known.estimated_start_ms if isinstance(known, frames.AcceptFrame) else None
            yield events.Accepted(start if isinstance(start, int) else None)
        match known:
            case frames.EventFrame(seq=seq, event=event, data=data):
                size = ndjson.json_size(data)
                self._receive_content(self._output, self._limits.max_output_bytes, size, seq, "output")
                yield events.Output(seq, event, data, size)
            case frames.DoneFrame(usage=usage):
                claimed = usage if isinstance(usage, frames.Usage) else None
                yield events.Finished(self.usage, claimed, given(known.x402.response))
            case frames.ErrorFrame(code=code, message=message):
                yield events.Failed(code, message[:ERROR_MESSAGE_CHARS], given(known.x402.response))
            case frames.CancelFrame(reason=reason):
                yield events.Cancelled(reason[:REASON_CHARS])
            case frames.PaymentRequiredFrame(terms=terms):
                demanded = events.PaymentDemanded(given(terms), given(known.x402.required))
                if demanded.terms is None and demanded.required is None:
                    raise RemoteProtocolError("bad_message", "a demand without terms")
                yield demanded
            case frames.PaymentDueFrame(tab=tab, units=units, amount=amount, final=final):
                yield events.PaymentDue(tab, units, int(amount), final)

    def _end(self) -> list[CallerEvent]:
        raise RemoteProtocolError("cut_short", f"the provider ended the stream: the call is {self._state.value}")

    def _refuse(self, error: RemoteProtocolError) -> bytes:
        reply = self._cancel(error.code)
        self._state = State.PEER_ENDED
        return reply


def frame_of(command: Open) -> frames.OpenFrame:
    """The call as it goes to the provider, but for its author's proof. Raises ValueError, TypeError."""
    return frames.OpenFrame(
        version=1,
        request_id=command.request_id,
        capability=parse_capability_name(command.capability),
        input_format=command.input_format,
        output_mode=command.output_mode,
        max_duration_ms=command.max_duration_ms,
        max_input_bytes=command.max_input_bytes,
        max_output_bytes=command.max_output_bytes,
        metadata=msgspec.UNSET if command.metadata is None else command.metadata,
        to_agent=command.to_agent or msgspec.UNSET,
        meta=carrying(payment=command.payment),
    )

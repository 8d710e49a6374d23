"""The end of a call that answers it. (specs/invoke.md §3.2)"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final

import msgspec

from nexusd_protocols import agent_proof, limits, ndjson
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.frames import UnknownFrame
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import parse_capability_name
from nexusd_protocols.invoke import events, frames
from nexusd_protocols.invoke.commands import Accept, Cancel, Demand, Done, Due, Error, Event, ProviderCommand, TimedOut
from nexusd_protocols.invoke.events import ProviderEvent
from nexusd_protocols.invoke.frames import PROTOCOL, Code, InvokeFrame
from nexusd_protocols.invoke.quota import Limits
from nexusd_protocols.invoke.side import Moves, Side, State, Table, carrying, given

Grant = Callable[[str], Limits]
"""What this node allows a call of a capability, by its name (which may be unknown here)."""

_WORKS: Final[Moves] = {Accept: State.RUNNING, Event: State.RUNNING, Done: State.ENDED}
_STOPS: Final[Moves] = {Error: State.ENDED, Cancel: State.ENDED, TimedOut: State.ENDED}

_REPLIES: Final = {"input_too_large": Code.INPUT_TOO_LARGE, "forged_agent": Code.FORBIDDEN}


def _anything(_capability: str) -> Limits:
    return Limits()


class Provider(Side[ProviderEvent]):
    """A `StreamMachine` and `HoldsBack`: commands Accept, Demand, Due, Event, Done, Error, Cancel, TimedOut; events of
    `ProviderEvent`.

    `local` and `peer` are the stream's ends. `grant` gives this node's own limits for a capability; the lower of them
    and of those that the caller states hold. Each refusal carries the invoke.error to answer with.
    """

    RECEIVES: ClassVar[Table] = {
        State.START: {frames.OpenFrame: State.OPEN},
        State.OPEN: {frames.ChunkFrame: State.OPEN, frames.CancelFrame: State.PEER_ENDED},
        State.DEMANDED: {
            frames.ChunkFrame: State.DEMANDED,
            frames.CancelFrame: State.PEER_ENDED,
            frames.PaymentProofFrame: State.PAID,
        },
        State.PAID: {frames.ChunkFrame: State.PAID, frames.CancelFrame: State.PEER_ENDED},
        State.RUNNING: {
            frames.ChunkFrame: State.RUNNING,
            frames.CancelFrame: State.PEER_ENDED,
            frames.PaymentFrame: State.RUNNING,
        },
    }
    SENDS: ClassVar[Table] = {
        State.START: {TimedOut: State.ENDED},
        State.OPEN: {**_WORKS, Demand: State.DEMANDED, **_STOPS},
        State.DEMANDED: _STOPS,
        State.PAID: {**_WORKS, **_STOPS},
        State.RUNNING: {Event: State.RUNNING, Due: State.RUNNING, Done: State.ENDED, **_STOPS},
    }

    def __init__(
        self,
        local: PeerId,
        peer: PeerId,
        *,
        grant: Grant = _anything,
        max_line: int = limits.INVOKE_LINE_BYTES,
        max_unknown: int = limits.UNKNOWN_FRAMES,
        high_water: int = limits.INVOKE_WINDOW_BYTES,
    ) -> None:
        super().__init__(local, peer, max_line=max_line, max_unknown=max_unknown, high_water=high_water)
        self._grant = grant
        self._asked = 0
        self._last_word = False
        """How often the caller was asked to pay more, and has not answered."""

    # --- sending ------------------------------------------------------------------------------------------------------
    def send(self, command: ProviderCommand) -> bytes:
        """See `StreamMachine`. Raises LimitExceededError (`output`, `line`) for a piece that is too much."""
        following = self._next_state(command)
        if following is None:
            return b""
        line = self._line(command)
        self._state = following
        self._asked += isinstance(command, Due)
        return line

    def _line(self, command: ProviderCommand) -> bytes:
        match command:
            case Event(event, data):
                return self._event(event, data)
            case Accept(estimated_start_ms):
                start = msgspec.UNSET if estimated_start_ms is None else estimated_start_ms
                return self._write(
                    frames.AcceptFrame(version=1, request_id=self._request_id, accepted=True, estimated_start_ms=start)
                )
            case Demand(terms, required):
                return self._demand(terms, required)
            case Due(tab, units, amount, final):
                return self._write(
                    frames.PaymentDueFrame(
                        version=1, request_id=self._request_id, tab=tab, units=units, amount=str(amount), final=final
                    )
                )
            case Done(response):
                meta = carrying(response=response)
                return self._write(
                    frames.DoneFrame(version=1, request_id=self._request_id, usage=self.usage, meta=meta)
                )
            case Error(code, message, response):
                return self._error(code, message, response)
            case Cancel(reason):
                return self._write(
                    frames.CancelFrame(version=1, request_id=self._request_id, reason=reason[: limits.REASON_CHARS])
                )
            case _:  # TimedOut
                return self._error(Code.TIMEOUT, f"not done within {self._limits.max_duration_ms} ms")

    def _event(self, event: str, data: object) -> bytes:
        if not 0 < len(event) <= limits.FRAME_WORD_CHARS:
            raise LocalProtocolError(f"an event's name has 1 to {limits.FRAME_WORD_CHARS} characters")
        self._window.check()
        return self._write_content(
            frames.EventFrame(version=1, request_id=self._request_id, seq=self._output.pieces, event=event, data=data),
            self._output,
            self._limits.max_output_bytes,
            "output",
        )

    def _demand(self, terms: frames.Terms | None, required: Any) -> bytes:
        if terms is None and required is None:
            raise LocalProtocolError("a demand without terms")
        return self._write(
            frames.PaymentRequiredFrame(
                version=1,
                request_id=self._request_id,
                terms=msgspec.UNSET if terms is None else terms,
                meta=carrying(required=required),
            )
        )

    def _error(self, code: str, message: str, response: Any = None) -> bytes:
        return self._write(
            frames.ErrorFrame(
                version=1,
                request_id=self._request_id,
                code=code[: limits.FRAME_WORD_CHARS] or Code.INTERNAL,
                message=message[: limits.ERROR_MESSAGE_CHARS],
                meta=carrying(response=response),
            )
        )

    # --- receiving ----------------------------------------------------------------------------------------------------
    def _take(self, frame: InvokeFrame | UnknownFrame) -> Iterator[ProviderEvent]:
        match self._follow(frame):
            case frames.OpenFrame() as opened:
                yield self._opened(opened)
            case frames.ChunkFrame() as chunk:
                yield self._chunk(chunk)
            case frames.CancelFrame(reason=reason):
                yield events.Cancelled(reason[: limits.REASON_CHARS])
            case frames.PaymentProofFrame(proof=proof) as paid:
                offered = events.PaymentOffered(given(proof), given(paid.x402.payment))
                if offered.proof is None and offered.payment is None:
                    raise RemoteProtocolError("bad_message", "neither a proof nor a payment")
                yield offered
            case frames.PaymentFrame() as grown:
                yield self._tab(grown)

    def _opened(self, frame: frames.OpenFrame) -> events.Opened:
        self._request_id = frame.request_id
        try:
            parse_capability_name(frame.capability)
        except ValueError as error:
            raise RemoteProtocolError("bad_capability", str(error)) from error
        caller = self._author(frame)
        self._limits = Limits.stated(frame).within(self._grant(frame.capability))
        to_agent = None if frame.to_agent is msgspec.UNSET else AgentId(frame.to_agent)
        return events.Opened(frame, self._limits, caller, to_agent, given(frame.x402.payment))

    def _author(self, frame: frames.OpenFrame) -> AgentId:
        return agent_proof.require(
            agent_proof.check(
                frame,
                protocol=PROTOCOL,
                exchange=frame.request_id,
                sender=self._peer,
                receiver=self._local,
                content=frame.content,
            )
        )

    def _chunk(self, frame: frames.ChunkFrame) -> events.Input:
        if self._input_final:
            raise RemoteProtocolError("input_after_final", f"chunk {frame.seq}")
        size = ndjson.json_size(frame.data)
        # behind other pieces, an empty text that is final is how a caller says "that was all"
        ends_only = frame.is_final_input and frame.data == "" and self._input.pieces > 0
        self._receive_content(self._input, self._limits.max_input_bytes, size, frame.seq, "input")
        self._input_final = frame.is_final_input
        return events.Input(frame.seq, msgspec.UNSET if ends_only else frame.data, frame.is_final_input, size)

    def _tab(self, frame: frames.PaymentFrame) -> events.TabAnswer:
        if self._asked:
            self._asked -= 1
        elif frame.final and not self._last_word:  # of a caller that gives up
            self._last_word = True
        else:  # whoever answers what nobody asked does so as often as it likes
            raise RemoteProtocolError("unasked_payment", f"for tab {frame.tab}", penalty=10)
        payment = given(frame.x402.payment)
        amount, signature = given(frame.amount), given(frame.signature)
        match payment, amount, signature:
            case None, None, None if frame.final:
                return events.TabExhausted(frame.tab)
            case payment, None, None if payment is not None:
                return events.TabOpened(frame.tab, payment, frame.final)
            case None, str(amount), str(signature):
                return events.TabGrown(frame.tab, int(amount), signature, frame.final)
        raise RemoteProtocolError("bad_message", "neither a tab that grows nor one that opens, nor the last word")

    def _end(self) -> list[ProviderEvent]:
        if self._input_final:
            return []  # the caller said all it had to say, and waits
        opened = self._state is not State.START
        self._state = State.PEER_ENDED
        return [events.Cancelled("the caller ended its stream before its input")] if opened else []

    def _refuse(self, error: RemoteProtocolError) -> bytes:
        self._request_id = self._request_id or self._reader.request_id
        reply = self._error(_REPLIES.get(error.code, Code.BAD_REQUEST), str(error))
        self._state = State.PEER_ENDED
        return reply

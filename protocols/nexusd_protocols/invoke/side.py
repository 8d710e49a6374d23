"""What the two ends of a call share: the states, the look-up in a transition table, limits and counts.

A table gives, for each state, the frames (or commands) that are legal in it and the state that follows. What it does
not list is refused: a frame with a RemoteProtocolError, a command with a LocalProtocolError. (specs/invoke.md §3)
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, ClassVar, Final, TypeVar

import msgspec

from nexusd_protocols import limits, ndjson
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError
from nexusd_protocols.frames import Frame, FrameMachine, FrameReader, UnknownFrame, type_of, write
from nexusd_protocols.identity import PeerId
from nexusd_protocols.invoke.commands import Cancel, TimedOut
from nexusd_protocols.invoke.frames import (
    ChunkFrame,
    ErrorFrame,
    EventFrame,
    InvokeFrame,
    OpenFrame,
    PaymentMeta,
    Usage,
)
from nexusd_protocols.invoke.quota import Limits, Meter
from nexusd_protocols.invoke.window import Window

EventT = TypeVar("EventT")


class State(enum.Enum):
    """Of a call, as one end sees it."""

    START = "before open"
    OPEN = "opened"
    DEMANDED = "waiting for payment"
    PAID = "paid"
    RUNNING = "running"
    ENDED = "ended by us"
    PEER_ENDED = "ended by the peer"


OVER: Final = frozenset({State.ENDED, State.PEER_ENDED})

Moves = Mapping[type, State]
Table = Mapping[State, Moves]


class Side(FrameMachine[InvokeFrame, EventT]):
    """One end of one call. `Caller` and `Provider` bring the tables and what each transition does."""

    RECEIVES: ClassVar[Table]
    SENDS: ClassVar[Table]

    def __init__(
        self,
        local: PeerId,
        peer: PeerId,
        *,
        max_line: int = limits.INVOKE_LINE_BYTES,
        max_unknown: int = limits.UNKNOWN_FRAMES,
        high_water: int = limits.INVOKE_WINDOW_BYTES,
    ) -> None:
        super().__init__(
            FrameReader(InvokeFrame, max_line=max_line, wide=(ChunkFrame, EventFrame), max_unknown=max_unknown)
        )
        self._local = local
        self._peer = peer
        self._max_line = max_line
        self._state = State.START
        self._request_id = ""
        self._limits = Limits()
        self._input = Meter()
        self._output = Meter()
        self._input_final = False
        self._window = Window(high_water)

    @property
    def state(self) -> State:
        """Where the call stands."""
        return self._state

    @property
    def limits(self) -> Limits:
        """What holds for this call, once it is open. `max_duration_ms` is for the shell to time: `TimedOut`."""
        return self._limits

    @property
    def usage(self) -> Usage:
        """What this end has counted so far."""
        return Usage(input_bytes=self._input.bytes, output_bytes=self._output.bytes, events=self._output.pieces)

    @property
    def writable(self) -> bool:
        """See `HoldsBack`."""
        return self._window.writable

    def sent(self, count: int) -> None:
        """See `HoldsBack`."""
        self._window.sent(count)

    # --- sending ------------------------------------------------------------------------------------------------------
    def _next_state(self, command: object) -> State | None:
        """The state that a command leads to; None where the call is over and nothing is to be sent.

        The end of a call crosses with what the other end still sends. So a command that comes after the peer's end is
        no mistake, nor is giving up what is over; anything else after our own end is.
        """
        following = self.SENDS.get(self._state, {}).get(type(command))
        if following is not None:
            return following
        if isinstance(command, Cancel | TimedOut) and self._state in OVER:
            return None
        if self._state is State.PEER_ENDED and type(command) in self.SENDS[State.RUNNING]:
            return None
        raise LocalProtocolError(f"{type(command).__name__} cannot be sent: the call is {self._state.value}")

    def _write(self, frame: Frame) -> bytes:
        """The line of a frame without content, counted as on its way."""
        line = write(frame, max_line=min(self._max_line, limits.CONTROL_LINE_BYTES))
        self._window.give(len(line))
        return line

    def _write_content(self, frame: ChunkFrame | EventFrame, meter: Meter, limit: int, name: str) -> bytes:
        """The line of a frame that carries content, counted. Raises LimitExceededError, then having counted nothing."""
        line = write(frame, max_line=self._max_line)
        size = ndjson.json_size(frame.data)
        if meter.bytes + size > limit:
            raise LimitExceededError(name, f"{meter.bytes + size} bytes of {name} are over the {limit} of this call")
        meter.count(size, frame.seq)
        self._window.give(len(line))
        return line

    # --- receiving ----------------------------------------------------------------------------------------------------
    def _over(self) -> bool:
        return self._state in OVER

    def _follow(self, frame: InvokeFrame | UnknownFrame) -> InvokeFrame | None:
        """Make the frame's transition. None for a frame that is ignored."""
        if isinstance(frame, UnknownFrame):
            if self._state is State.START:
                raise RemoteProtocolError("unexpected_frame", f"{frame.type}: the call is {self._state.value}")
            return None
        following = self.RECEIVES[self._state].get(type(frame))
        if following is None:
            raise RemoteProtocolError(self._illegal(frame), f"{type_of(frame)}: the call is {self._state.value}")
        if self._request_id and frame.request_id != self._request_id and not _is_unaddressed(frame):
            raise RemoteProtocolError("wrong_request_id", "a stream carries one call")
        self._state = following
        return frame

    def _illegal(self, frame: InvokeFrame) -> str:
        """The name of the reason why a frame is refused."""
        if isinstance(frame, OpenFrame):
            return "second_open"
        if isinstance(frame, ChunkFrame) and self._state is State.START:
            return "chunk_before_open"
        return "unexpected_frame"

    def _receive_content(self, meter: Meter, limit: int, size: int, seq: int, name: str) -> None:
        """Count content that came in. Raises RemoteProtocolError."""
        if not meter.in_order(seq):
            raise RemoteProtocolError("seq_went_back", f"{name} {seq}")
        if meter.bytes + size > limit:
            raise RemoteProtocolError(f"{name}_too_large", f"over {limit} bytes")
        meter.count(size, seq)


def _is_unaddressed(frame: InvokeFrame) -> bool:
    """An error that answers a line whose requestId the provider could not read."""
    return isinstance(frame, ErrorFrame) and frame.request_id == ""


def carrying(*, required: Any = None, payment: Any = None, response: Any = None) -> PaymentMeta | msgspec.UnsetType:
    """`_meta` with these objects of x402; none, if none is given."""
    objects = {"required": required, "payment": payment, "response": response}
    told = {name: value for name, value in objects.items() if value is not None}
    return PaymentMeta(**told) if told else msgspec.UNSET


def given(value: Any) -> Any:
    """A field's value; None where the field is not there."""
    return None if value is msgspec.UNSET else value

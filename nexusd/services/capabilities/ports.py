"""The two seams of a capability: a call that this node makes (`Call`), and one that it is asked to answer (`Incoming`).

A door drives the first and provides for the second; the service stands between them and the streams. Every wait here
is back-pressure: `Call.send` and `Incoming.emit` return once the other side may be given more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from nexusd_protocols.rpc.schema import PaymentSummary, PriceView


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of a remote capability's output, in order. `data` is JSON, the provider's word: untrusted."""

    seq: int
    event: str
    data: Any


@dataclass(frozen=True, slots=True)
class CallError:
    """Why a call did not end well: `code` of the error table, `remote_code` the provider's own word, `reason` the name
    of what there is against the payment; `prices` what was asked for and is not paid, any of them."""

    code: str
    message: str
    remote_code: str | None = None
    reason: str = ""
    prices: tuple[PriceView, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """The last thing that a call gives. Byte counts are those of the content (`ndjson.json_size`)."""

    error: CallError | None
    input_bytes: int
    output_bytes: int
    duration_ms: int
    payment: PaymentSummary | None = None


class Call(Protocol):
    """A call under way to a remote (or this node's own) capability. One task sends and another receives."""

    @property
    def invocation(self) -> str:
        """Its id, unique on this node: the same word as in the event feed."""
        ...

    async def send(self, data: Any, final: bool) -> None:
        """Send a piece of input (UNSET with `final`: the input ends with what was sent). Waits until the provider can
        take more. After the call has ended it does nothing."""
        ...

    async def receive(self) -> Output | End:
        """The next piece of output; `End` exactly once, and nothing after it. Whoever holds the call receives until
        then, also after `cancel`: with its end the call lets go of its stream."""
        ...

    def ready(self) -> Sequence[Output]:
        """The pieces that came along with the last one, at once: whoever passes several on together need not wait."""
        ...

    @property
    def ending(self) -> bool:
        """Whether the call has ended well behind what `ready` gave: `receive` gives the end at once."""
        ...

    async def cancel(self, reason: str) -> None:
        """Give the call up. `receive` gives `End` soon after, with `invoke_cancelled`. Harmless twice, or after the
        end."""
        ...


class CallFailed(Exception):  # noqa: N818  (an outcome that the provider states, not a fault of this program)
    """A provider ends its call with an error: `code` is the word that goes to the caller, such as INTERNAL."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Incoming(Protocol):
    """A call that somebody makes to a capability of this node. What the caller sent is untrusted."""

    @property
    def invocation(self) -> str: ...

    @property
    def capability(self) -> str: ...

    @property
    def caller(self) -> str:
        """The agent that calls: verified."""
        ...

    @property
    def input_format(self) -> str: ...

    @property
    def output_mode(self) -> Literal["stream", "unary"]: ...

    @property
    def max_duration_ms(self) -> int: ...

    @property
    def max_output_bytes(self) -> int: ...

    @property
    def metadata(self) -> dict[str, Any] | None: ...

    @property
    def cancelled(self) -> str:
        """Why the provider's task was cancelled (the caller gave up, the time is over); empty until then."""
        ...

    async def receive(self) -> tuple[Any, bool] | None:
        """The next piece of input and whether it is the last; None once all was given. `data` is UNSET where the end
        of the input carries none."""
        ...

    def input_ready(self) -> tuple[Any, bool] | None:
        """As `receive`, if the piece is there."""
        ...

    @property
    def input_over(self) -> bool:
        """Whether all of the input was given."""
        ...

    @property
    def unit(self) -> str:
        """What the price counts (see `terms.Unit`); empty where nothing is paid by the unit."""
        ...

    async def emit(self, event: str, data: Any, units: int | None = None) -> None:
        """Send a piece of output, which counts so many tokens where the price is for these; one, if that is not said.
        Waits until the caller can take more. Raises CallFailed when it goes past a limit that the caller stated."""
        ...

    async def emit_all(self, pieces: Sequence[tuple[str, Any, int | None]]) -> None:
        """Send several, each as `emit` does, as few writes as may be."""
        ...

    async def count(self, units: int) -> None:
        """So many tokens more than the pieces told of: an endpoint may say so at the end."""
        ...


def as_it_comes(incoming: Incoming) -> bool:
    """Whether output is to go piece by piece: as the caller wants it, and wherever a price counts it, so that a call
    costs the same either way. Callers that want it whole join the pieces."""
    return incoming.output_mode == "stream" or incoming.unit != ""


class Provider(Protocol):
    """Whoever answers the calls of one capability."""

    async def call(self, incoming: Incoming) -> None:
        """Answer one call: returning ends it well, CallFailed ends it with an error. Awaited by the service, which
        cancels it when nobody waits for the answer any more."""
        ...

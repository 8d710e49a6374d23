"""What this program tells a caller or provider machine to do. The machine adds version, requestId and seq."""

from __future__ import annotations

from typing import Any

import msgspec

from nexusd_protocols import limits
from nexusd_protocols.identity import AgentId, Signer
from nexusd_protocols.invoke.frames import OutputMode, Proof, Terms


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """Begin a call. `author` signs for an agent other than the node's own; `to_agent` names one at the provider.
    `payment` pays at once, for a caller that knows the terms: an x402 PaymentPayload."""

    request_id: str
    capability: str
    input_format: str = "text/plain"
    output_mode: OutputMode = "unary"
    max_duration_ms: int = limits.INVOKE_MAX_DURATION_MS
    max_input_bytes: int = limits.INVOKE_MAX_INPUT_BYTES
    max_output_bytes: int = limits.INVOKE_MAX_OUTPUT_BYTES
    metadata: dict[str, Any] | None = None
    author: Signer | None = None
    to_agent: AgentId | None = None
    payment: Any = None


class Chunk(msgspec.Struct, frozen=True):
    """Send a piece of the input. Without `data` (only where `final`): the input ends with what was sent."""

    data: Any = msgspec.UNSET
    final: bool = False


class Pay(msgspec.Struct, frozen=True):
    """Answer a demand for payment, in the published form, as an x402 PaymentPayload, or both."""

    proof: Proof | None = None
    payment: Any = None


class Grow(msgspec.Struct, frozen=True):
    """Let the tab grow to `amount`, under a `signature` of 65 bytes as 0x… text. `final`: and to nothing more."""

    tab: int
    amount: int
    signature: str
    final: bool = False


class OpenTab(msgspec.Struct, frozen=True):
    """Open the next tab: an x402 PaymentPayload. `final`: and nothing more."""

    tab: int
    payment: Any
    final: bool = False


class Exhausted(msgspec.Struct, frozen=True):
    """Say that nothing more is authorised than was."""

    tab: int


class Accept(msgspec.Struct, frozen=True):
    """Say that the call is taken on."""

    estimated_start_ms: int | None = None


class Demand(msgspec.Struct, frozen=True):
    """Ask for payment before the work begins, in the published form, as an x402 PaymentRequired, or both."""

    terms: Terms | None = None
    required: Any = None


class Due(msgspec.Struct, frozen=True):
    """Ask for more under a tab: see `frames.PaymentDueFrame`."""

    tab: int
    units: int
    amount: int
    final: bool = False


class Event(msgspec.Struct, frozen=True):
    """Send a piece of the output."""

    event: str
    data: Any = None


class Done(msgspec.Struct, frozen=True):
    """End the call well. The machine fills in the usage that it counted. `response` is an x402 SettlementResponse."""

    response: Any = None


class Error(msgspec.Struct, frozen=True):
    """End the call badly. `code` is one of `frames.Code`, or a word of the provider's own. `response` is an x402
    SettlementResponse."""

    code: str
    message: str
    response: Any = None


class Cancel(msgspec.Struct, frozen=True):
    """Give the call up, whatever its state."""

    reason: str = "cancelled"


class TimedOut(msgspec.Struct, frozen=True):
    """The clock says that `max_duration_ms` have passed: end the call as a side must that keeps its limit."""


CallerCommand = Open | Chunk | Pay | Grow | OpenTab | Exhausted | Cancel | TimedOut
ProviderCommand = Accept | Demand | Due | Event | Done | Error | Cancel | TimedOut

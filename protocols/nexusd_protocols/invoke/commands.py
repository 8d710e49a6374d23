"""What this program tells a caller or provider machine to do. The machine adds version, requestId and seq."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from nexusd_protocols import limits
from nexusd_protocols.identity import AgentId, Signer
from nexusd_protocols.invoke.frames import OutputMode, Proof, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
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


@dataclass(frozen=True, slots=True)
class Chunk:
    """Send a piece of the input. Without `data` (only where `final`): the input ends with what was sent."""

    data: Any = msgspec.UNSET
    final: bool = False


@dataclass(frozen=True, slots=True)
class Pay:
    """Answer a demand for payment, in the published form, as an x402 PaymentPayload, or both."""

    proof: Proof | None = None
    payment: Any = None


@dataclass(frozen=True, slots=True)
class Grow:
    """Let the tab grow to `amount`, under a `signature` of 65 bytes as 0x… text. `final`: and to nothing more."""

    tab: int
    amount: int
    signature: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class OpenTab:
    """Open the next tab: an x402 PaymentPayload. `final`: and nothing more."""

    tab: int
    payment: Any
    final: bool = False


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Say that nothing more is authorised than was."""

    tab: int


@dataclass(frozen=True, slots=True)
class Accept:
    """Say that the call is taken on."""

    estimated_start_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """Ask for payment before the work begins, in the published form, as an x402 PaymentRequired, or both."""

    terms: Terms | None = None
    required: Any = None


@dataclass(frozen=True, slots=True)
class Due:
    """Ask for more under a tab: see `frames.PaymentDueFrame`."""

    tab: int
    units: int
    amount: int
    final: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """Send a piece of the output."""

    event: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class Done:
    """End the call well. The machine fills in the usage that it counted. `response` is an x402 SettlementResponse."""

    response: Any = None


@dataclass(frozen=True, slots=True)
class Error:
    """End the call badly. `code` is one of `frames.Code`, or a word of the provider's own. `response` is an x402
    SettlementResponse."""

    code: str
    message: str
    response: Any = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Give the call up, whatever its state."""

    reason: str = "cancelled"


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The clock says that `max_duration_ms` have passed: end the call as a side must that keeps its limit."""


CallerCommand = Open | Chunk | Pay | Grow | OpenTab | Exhausted | Cancel | TimedOut
ProviderCommand = Accept | Demand | Due | Event | Done | Error | Cancel | TimedOut

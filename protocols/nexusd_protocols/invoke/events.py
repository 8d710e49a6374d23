"""What a caller or provider machine tells this program. Text in them is the peer's: untrusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nexusd_protocols.identity import AgentId
from nexusd_protocols.invoke.frames import OpenFrame, Proof, Terms, Usage
from nexusd_protocols.invoke.quota import Limits


# --- to a caller ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took the call on. Comes once before any output, also where the provider did not say so."""

    estimated_start_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of the output. `size` is what it counts against `max_output_bytes`."""

    seq: int
    event: str
    data: Any
    size: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The call ended well. `usage` is what this side counted, `claimed` what the provider says."""

    usage: Usage
    claimed: Usage | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider ended the call badly."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class PaymentDemanded:
    """The provider wants to be paid first. Answer with `Pay` or `Cancel`."""

    terms: Terms


# --- to a provider --------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Opened:
    """A call. `limits` is what holds: the lower of what the caller states and this side grants. `caller` is verified;
    `to_agent` is whom it addresses, none for the node's own."""

    open: OpenFrame
    limits: Limits
    caller: AgentId
    to_agent: AgentId | None


@dataclass(frozen=True, slots=True)
class Input:
    """A piece of the input, `size` bytes of `max_input_bytes`. `data` is UNSET where a final frame only ends it."""

    seq: int
    data: Any
    final: bool
    size: int


@dataclass(frozen=True, slots=True)
class PaymentOffered:
    """The caller answers the demand."""

    proof: Proof


# --- to both --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Cancelled:
    """The other side gave the call up."""

    reason: str


CallerEvent = Accepted | Output | Finished | Failed | Cancelled | PaymentDemanded
ProviderEvent = Opened | Input | PaymentOffered | Cancelled

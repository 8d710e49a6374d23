"""What a caller or provider machine tells this program. Text in them is the peer's: untrusted."""

from __future__ import annotations

from typing import Any

import msgspec

from nexusd_protocols.identity import AgentId
from nexusd_protocols.invoke.frames import OpenFrame, Proof, Terms, Usage
from nexusd_protocols.invoke.quota import Limits


# --- to a caller ----------------------------------------------------------------------------------------------------
class Accepted(msgspec.Struct, frozen=True):
    """The provider took the call on. Comes once before any output, also where the provider did not say so."""

    estimated_start_ms: int | None = None


class Output(msgspec.Struct, frozen=True):
    """A piece of the output. `size` is what it counts against `max_output_bytes`."""

    seq: int
    event: str
    data: Any
    size: int


class Finished(msgspec.Struct, frozen=True):
    """The call ended well. `usage` is what this side counted, `claimed` what the provider says, `response` its x402
    SettlementResponse."""

    usage: Usage
    claimed: Usage | None
    response: Any = None


class Failed(msgspec.Struct, frozen=True):
    """The provider ended the call badly. `response` is its x402 SettlementResponse."""

    code: str
    message: str
    response: Any = None


class PaymentDemanded(msgspec.Struct, frozen=True):
    """The provider wants to be paid first. Answer with `Pay` or `Cancel`. `required` is an x402 PaymentRequired; one of
    the two is there at least."""

    terms: Terms | None = None
    required: Any = None


class PaymentDue(msgspec.Struct, frozen=True):
    """The provider wants more under a tab: see `frames.PaymentDueFrame`. Answer with `Grow`, `OpenTab`, `Exhausted` or
    `Cancel`."""

    tab: int
    units: int
    amount: int
    final: bool


# --- to a provider --------------------------------------------------------------------------------------------------
class Opened(msgspec.Struct, frozen=True):
    """A call. `limits` is what holds: the lower of what the caller states and this side grants. `caller` is verified;
    `to_agent` is whom it addresses, none for the node's own. `payment` is an x402 PaymentPayload, of a caller that pays
    at once."""

    open: OpenFrame
    limits: Limits
    caller: AgentId
    to_agent: AgentId | None
    payment: Any = None


class Input(msgspec.Struct, frozen=True):
    """A piece of the input, `size` bytes of `max_input_bytes`. `data` is UNSET where a final frame only ends it."""

    seq: int
    data: Any
    final: bool
    size: int


class PaymentOffered(msgspec.Struct, frozen=True):
    """The caller answers the demand. `payment` is an x402 PaymentPayload; one of the two is there at least."""

    proof: Proof | None = None
    payment: Any = None


class TabGrown(msgspec.Struct, frozen=True):
    """The caller answers `Due`: the tab may grow to `amount`, under a `signature` of 65 bytes as 0x… text. `final`: it
    authorises nothing more."""

    tab: int
    amount: int
    signature: str
    final: bool = False


class TabOpened(msgspec.Struct, frozen=True):
    """The caller answers `Due` with a new tab: an x402 PaymentPayload. `final` as above."""

    tab: int
    payment: Any
    final: bool = False


class TabExhausted(msgspec.Struct, frozen=True):
    """The caller answers `Due`: it authorises nothing more than it did."""

    tab: int


# --- to both --------------------------------------------------------------------------------------------------------
class Cancelled(msgspec.Struct, frozen=True):
    """The other side gave the call up."""

    reason: str


CallerEvent = Accepted | Output | Finished | Failed | Cancelled | PaymentDemanded | PaymentDue
TabAnswer = TabGrown | TabOpened | TabExhausted
ProviderEvent = Opened | Input | PaymentOffered | TabAnswer | Cancelled

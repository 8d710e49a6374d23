"""The frames of `/nexus/invoke/1.1.0`, field for field. (specs/invoke.md §2)

Where the published programs leave a field out, or JavaScript drops an undefined one, it has a default here.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from nexusd_protocols import limits
from nexusd_protocols.agent_proof import AgentFrame, canonical, digest
from nexusd_protocols.frames import Count, Frame, RequestId, Word

PROTOCOL: Final = "/nexus/invoke/1.1.0"

OutputMode = Literal["stream", "unary"]
Unset = msgspec.UnsetType

_Text = Annotated[str, Meta(min_length=1, max_length=128)]
Uint = Annotated[str, Meta(pattern=r"\A(0|[1-9][0-9]{0,77})\Z")]
"""A whole number of smallest units, in the one text that it has."""
Signature = Annotated[str, Meta(pattern=r"\A0x[0-9a-fA-F]{130}\Z")]
"""65 bytes r, s, v."""
_When = Annotated[int, Meta(ge=0, le=2**53 - 1)] | Annotated[str, Meta(max_length=64)] | None
"""A time as payment objects write it: a number or its decimal text."""


class PaymentMeta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`_meta` of a frame: objects of x402 as they are, named as its transport for MCP names them. This protocol carries
    them; `nexusd_protocols.payments` reads them. `status` is a word of x402's transport for A2A."""

    required: Any = msgspec.field(name="x402/payment-required", default=msgspec.UNSET)
    payment: Any = msgspec.field(name="x402/payment", default=msgspec.UNSET)
    response: Any = msgspec.field(name="x402/payment-response", default=msgspec.UNSET)
    status: Word | Unset = msgspec.field(name="x402.payment.status", default=msgspec.UNSET)


_Meta = PaymentMeta | Unset | None


class PaidFrame(Frame, frozen=True, kw_only=True):
    """A frame that can carry objects of x402."""

    meta: _Meta = msgspec.field(name="_meta", default=msgspec.UNSET)

    @property
    def x402(self) -> PaymentMeta:
        """What it carries; nothing, if there is no `_meta`."""
        return self.meta if isinstance(self.meta, PaymentMeta) else _NOTHING


_NOTHING: Final = PaymentMeta()


class OpenFrame(AgentFrame, frozen=True, kw_only=True, tag="invoke.open"):
    """caller → provider, first. The limits bind both sides."""

    request_id: RequestId
    capability: Annotated[str, Meta(min_length=1, max_length=limits.CAPABILITY_NAME_CHARS)]
    input_format: Word
    output_mode: OutputMode
    max_duration_ms: Annotated[int, Meta(ge=1, le=limits.INVOKE_DURATION_CEILING_MS)] = limits.INVOKE_MAX_DURATION_MS
    max_input_bytes: Annotated[int, Meta(ge=0, le=limits.INVOKE_INPUT_CEILING_BYTES)] = limits.INVOKE_MAX_INPUT_BYTES
    max_output_bytes: Annotated[int, Meta(ge=0, le=limits.INVOKE_OUTPUT_CEILING_BYTES)] = limits.INVOKE_MAX_OUTPUT_BYTES
    metadata: dict[str, Any] | Unset | None = msgspec.UNSET
    meta: _Meta = msgspec.field(name="_meta", default=msgspec.UNSET)

    @property
    def x402(self) -> PaymentMeta:
        """See `PaidFrame`."""
        return self.meta if isinstance(self.meta, PaymentMeta) else _NOTHING

    def content(self) -> bytes:
        """Digest of what an agent's proof covers. Raises ValueError where `metadata` has no canonical form."""
        return digest(
            self.capability.encode(),
            self.input_format.encode(),
            self.output_mode.encode(),
            *(str(number).encode() for number in (self.max_duration_ms, self.max_input_bytes, self.max_output_bytes)),
            canonical(self.metadata) if self.metadata else b"",
        )


class AcceptFrame(PaidFrame, frozen=True, kw_only=True, tag="invoke.accept"):
    """provider → caller. Published providers never send it."""

    request_id: RequestId
    accepted: bool
    estimated_start_ms: Count | Unset | None = msgspec.UNSET


class ChunkFrame(Frame, frozen=True, kw_only=True, tag="invoke.chunk"):
    """caller → provider: a piece of the input. `data` is any JSON value."""

    request_id: RequestId
    seq: Count
    is_final_input: bool
    data: Any


class EventFrame(Frame, frozen=True, kw_only=True, tag="invoke.event"):
    """provider → caller: a piece of the output. `event` is token, progress, partial, result or another word."""

    request_id: RequestId
    seq: Count
    event: Word
    data: Any = None


class Usage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a call used. `events` is ours: how many invoke.event frames there were."""

    input_bytes: Count = 0
    output_bytes: Count = 0
    events: Count = 0


class DoneFrame(PaidFrame, frozen=True, kw_only=True, tag="invoke.done"):
    """provider → caller, last: the call ended well."""

    request_id: RequestId
    usage: Usage | Unset | None = msgspec.UNSET


class ErrorFrame(PaidFrame, frozen=True, kw_only=True, tag="invoke.error"):
    """provider → caller, last: the call failed. `requestId` is empty where the provider could not read it."""

    request_id: Annotated[str, Meta(max_length=limits.REQUEST_ID_CHARS)]
    code: Word
    message: str = ""


class CancelFrame(Frame, frozen=True, kw_only=True, tag="invoke.cancel"):
    """Either way, last: its sender gives the call up."""

    request_id: RequestId
    reason: str = ""


class Terms(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a provider wants to be paid, in the published form."""

    amount: _Text
    currency: Word
    recipient: _Text
    description: Annotated[str, Meta(max_length=limits.DESCRIPTION_CHARS)] | None = None
    network: Word | None = None
    valid_until: _When = None
    expires_at: _When = None


class Proof(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A payment authorisation, in the published form."""

    from_: _Text = msgspec.field(name="from")
    to: _Text
    amount: _Text
    currency: Word
    signature: Annotated[str, Meta(min_length=1, max_length=4096)]
    nonce: _Text
    valid_after: _When = None
    valid_before: _When = None


class PaymentRequiredFrame(PaidFrame, frozen=True, kw_only=True, tag="invoke.payment_required"):
    """provider → caller: the work begins once this is paid. Without `terms`, which not everything can be said in,
    `_meta` has the demand."""

    request_id: RequestId
    terms: Terms | Unset = msgspec.UNSET


class PaymentProofFrame(PaidFrame, frozen=True, kw_only=True, tag="invoke.payment_proof"):
    """caller → provider: the answer to invoke.payment_required, in the published form, in `_meta`, or in both."""

    request_id: RequestId
    proof: Proof | Unset = msgspec.UNSET


class PaymentDueFrame(Frame, frozen=True, kw_only=True, tag="invoke.payment_due"):
    """provider → caller, where a tab was agreed: what is wanted under it by now. `units` were delivered under the tab
    numbered `tab`, and `amount` is to be authorised in all; another number than before asks for a new tab. `final`:
    nothing more comes behind it."""

    request_id: RequestId
    tab: Count
    units: Count
    amount: Uint
    final: bool = False


class PaymentFrame(PaidFrame, frozen=True, kw_only=True, tag="invoke.payment"):
    """caller → provider, where a tab was agreed: the answer to invoke.payment_due. Either `amount` and `signature`, the
    authorisation of the tab grown to that; or a whole payment in `_meta`, which opens the tab; or neither, where it is
    `final`: nothing more is authorised behind it."""

    request_id: RequestId
    tab: Count
    amount: Uint | Unset = msgspec.UNSET
    signature: Signature | Unset = msgspec.UNSET
    final: bool = False


InvokeFrame = (
    OpenFrame
    | AcceptFrame
    | ChunkFrame
    | EventFrame
    | DoneFrame
    | ErrorFrame
    | CancelFrame
    | PaymentRequiredFrame
    | PaymentProofFrame
    | PaymentDueFrame
    | PaymentFrame
)


class Code:
    """The codes of invoke.error. The first four are the published network's; a reader must expect others."""

    FORBIDDEN: Final = "FORBIDDEN"
    NOT_FOUND: Final = "NOT_FOUND"
    PAYMENT_INVALID: Final = "PAYMENT_INVALID"
    PAYMENT_TIMEOUT: Final = "PAYMENT_TIMEOUT"
    PAYMENT_REQUIRED: Final = "PAYMENT_REQUIRED"
    SETTLEMENT_PENDING: Final = "SETTLEMENT_PENDING"
    BAD_REQUEST: Final = "BAD_REQUEST"
    INPUT_TOO_LARGE: Final = "INPUT_TOO_LARGE"
    OUTPUT_TOO_LARGE: Final = "OUTPUT_TOO_LARGE"
    TIMEOUT: Final = "TIMEOUT"
    BUSY: Final = "BUSY"
    CANCELLED: Final = "CANCELLED"
    INTERNAL: Final = "INTERNAL"


CODES: Final = frozenset(value for name, value in vars(Code).items() if name.isupper())

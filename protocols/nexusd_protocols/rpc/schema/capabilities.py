"""Capabilities and calls, as a client asks for them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from nexusd_protocols import limits
from nexusd_protocols.rpc.schema.payments import Decimal, PriceSpec, PriceView
from nexusd_protocols.rpc.schema.shape import Acting, Params, Result


class Capability(Result, frozen=True, kw_only=True):
    """A capability and whether it can be called now. Of a remote peer, its own words: untrusted."""

    name: str
    available: bool
    problem: str = ""
    """Why it is not available, where this daemon serves it."""
    description: str = ""
    free: bool = True
    streaming: bool = True
    max_input_bytes: int = limits.INVOKE_MAX_INPUT_BYTES
    queue_ms: int = 0
    """Estimated wait before a new call starts."""
    kind: Literal["connection", "command", "openai"] | None = None
    """How this daemon serves it; none for a remote peer's."""
    prices: list[PriceView] = []
    """What it may be had for: one of them. None where it is free, or the remote peer does not say."""


class CapabilityListParams(Acting, frozen=True, kw_only=True):
    """Without `peer`, what this daemon serves."""

    peer: str | None = None


class CapabilityList(Result, frozen=True, kw_only=True):
    """`answered` is false where the peer does not serve the handshake: what it offers is then unknown, not absent."""

    peer: str
    answered: bool
    capabilities: list[Capability]


class CapabilityOptions(Acting, frozen=True, kw_only=True):
    name: str
    description: Annotated[str, Meta(max_length=limits.DESCRIPTION_CHARS)] = ""
    max_concurrent: Annotated[int, Meta(ge=1, le=1024)] = 4
    timeout_ms: Annotated[int, Meta(ge=1, le=limits.INVOKE_DURATION_CEILING_MS)] = 600_000
    max_input_bytes: Annotated[int, Meta(ge=0, le=limits.INVOKE_INPUT_CEILING_BYTES)] = 1 * limits.MIB
    prices: Annotated[list[PriceSpec], Meta(max_length=limits.PAYMENT_OFFERS)] = []
    """What a call costs: the caller chooses one of them. Without any, nothing."""


class CapabilityRegisterParams(CapabilityOptions, frozen=True, kw_only=True):
    """Serve on this connection: calls arrive as `capability.invoke` requests until it closes or unregisters."""

    streaming: bool = True


class CommandSpec(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """A command started for each call, without a shell: stdin is the input, stdout the output."""

    argv: Annotated[list[str], Meta(min_length=1, max_length=256)]
    cwd: str
    jsonl: bool = False
    """Each line of output is one event, as it appears."""


class OpenAiSpec(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """An OpenAI-compatible chat endpoint: `url` is its base, such as http://127.0.0.1:11434/v1."""

    url: str
    model: str
    api_key_env: str | None = None
    """Name of the daemon's environment variable that holds the key; the key itself is never stored."""


class CapabilityServeParams(CapabilityOptions, frozen=True, kw_only=True):
    """Let the daemon serve: exactly one of `command` and `openai`. Kept over restarts."""

    command: CommandSpec | None = None
    openai: OpenAiSpec | None = None


class CapabilityNameParams(Acting, frozen=True, kw_only=True):
    name: str


CallId = Annotated[str, Meta(min_length=1, max_length=limits.REQUEST_ID_CHARS, pattern="^[!-~]+$")]
"""Printable ASCII, without spaces."""


class InvokeParams(Acting, frozen=True, kw_only=True):
    """Call a capability. The result says that the call is under way; `invoke.event` notifications carry the output and
    one `invoke.end` closes it. `input` is sent at once when given; else, and while `final` is false, `invoke.input`
    sends more. `credit` is how many bytes of output may come before `invoke.credit` grants more."""

    peer: str
    capability: str
    input: Any = msgspec.UNSET
    input_format: str = "text/plain"
    final: bool = True
    stream: bool = False
    max_duration_ms: Annotated[int, Meta(ge=1, le=limits.INVOKE_DURATION_CEILING_MS)] = limits.INVOKE_MAX_DURATION_MS
    max_input_bytes: Annotated[int, Meta(ge=0, le=limits.INVOKE_INPUT_CEILING_BYTES)] | None = None
    """Default: 64 KiB, or the size of `input` if that is more and it is final."""
    max_output_bytes: Annotated[int, Meta(ge=0, le=limits.INVOKE_OUTPUT_CEILING_BYTES)] = limits.INVOKE_MAX_OUTPUT_BYTES
    credit: Annotated[int, Meta(ge=0)] = limits.RPC_CREDIT_BYTES
    max_price: Decimal | None = None
    """What the call may cost in all, in whole tokens; without it nothing is paid. The policy has its own word."""
    tab: bool = False
    """Pay as the output comes, where the provider asks for that."""
    id: CallId | None = None
    """Of the call, and of what pays for it; by default the daemon's choice. Whoever chooses it can make the same call
    again, whatever became of it, and it is paid for once."""
    again: CallId | None = None
    """In place of `id`, of an earlier call that was paid for: the same call is made again and shows the same payment,
    so that it costs nothing more. The rest must be as it was. Not with `tab`; needs `max_price`."""
    anyway: bool = False
    """Send it though it holds what looks like key material, where the policy leaves that to the sender."""


class Invocation(Result, frozen=True, kw_only=True):
    """`credit` is how many bytes of input may be sent before the daemon grants more."""

    invocation: str
    credit: int


class InvokeInputParams(Params, frozen=True, kw_only=True):
    """More input, in pieces of at most 256 KiB. With `final`, `data` may be left out: what was sent was all."""

    invocation: str
    data: Any = msgspec.UNSET
    final: bool = False


class InvokeCreditParams(Params, frozen=True, kw_only=True):
    """Grant `bytes` more of output (to the caller's side) or of input (to the provider's). A piece counts the bytes of
    its JSON-RPC object as it stands in its line; it may be sent while any credit is left (specs/rpc.md §5)."""

    invocation: str
    bytes: Annotated[int, Meta(ge=0)]


class InvokeCancelParams(Params, frozen=True, kw_only=True):
    invocation: str
    reason: Annotated[str, Meta(max_length=256)] = "cancelled"


class CallEventParams(Params, frozen=True, kw_only=True):
    """A provider's output. `event` is token, progress, partial, result or a word of its own. `units`: how many tokens
    it counts, where the price is for tokens; one, if it is left out."""

    invocation: str
    event: Annotated[str, Meta(max_length=64)] = "partial"
    data: Any = None
    units: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None

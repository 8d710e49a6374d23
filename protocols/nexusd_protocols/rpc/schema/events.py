"""What the daemon sends unasked, and the calls it hands to a provider."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from nexusd_protocols.rpc.schema.payments import PaymentSummary
from nexusd_protocols.rpc.schema.shape import EventKind


class NodeEvent(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`node.event`. `cursor` is set where the event is stored: subscribe with it to continue behind it. Presence, peer,
    approval and progress events are live only and have none. `data` depends on `kind` and `type`:

    peer: connected | disconnected | discovered {peerId, address?, source?} | banned {peerId} + Ban | unbanned
        {peerId, reason: ended or lifted}
    room: message RoomMessage | joined {room} | left {room}
    presence: changed RoomMember + {room}
    dm: message DirectMessage
    invoke: started {invocation, direction, peer, capability} | finished the same and {outcome, inputBytes, outputBytes,
        durationMs} | approval {id, peer, capability, amount}: a call of ours waits for a person's word on what it
        costs; `id` is that of the call, and what `pay.approve` takes
    content: progress | fetched ContentFetched, of what is being fetched for somebody
    """

    subscription: str
    kind: EventKind
    type: str
    cursor: int | None
    at: int
    data: Any


class SubscriptionEnded(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`node.subscriptionEnded`: `reason` is stalled, unsubscribed or shutting_down; continue from `cursor`."""

    subscription: str
    reason: str
    cursor: int


class InvokeEvent(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`invoke.event`: one piece of a remote capability's output: untrusted."""

    invocation: str
    seq: int
    event: str
    data: Any


class InvokeEnd(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`invoke.end`: the call is over. `error` is set unless it ended well."""

    invocation: str
    input_bytes: int
    output_bytes: int
    duration_ms: int
    error: dict[str, Any] | None = None
    """{"code", "message", "remoteCode"?, "reason"?, "prices"?}: `code` of the error table, `remoteCode` the provider's
    own word, `reason` the name of what there is against the payment, `prices` (as `PriceView`) what the provider asks
    for and is not paid: any of them."""
    payment: PaymentSummary | None = None
    """What was paid; none where nothing was signed."""


class IncomingCall(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`capability.invoke`, a request of the daemon's to the connection that registered the capability. `credit` is how
    many bytes of output may be sent before `invoke.credit` grants more. The input follows as `call.input`
    notifications (the provider grants input the same way; it begins with 256 KiB). Send output as `call.event`, then
    answer the request: a result ends the call well, an error ends it with its message (and `data.code` as the remote
    code). `call.cancelled` says that nobody waits for the answer any more; answer all the same."""

    invocation: str
    capability: str
    caller: str
    input_format: str
    output_mode: Literal["stream", "unary"]
    max_duration_ms: int
    max_output_bytes: int
    credit: int
    metadata: dict[str, Any] | None = None


class CallInput(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`call.input`: a piece of a remote caller's input: untrusted. `data` is left out where the input ends with what
    came before."""

    invocation: str
    data: Any = msgspec.UNSET
    final: bool


class CallCancelled(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`call.cancelled`."""

    invocation: str
    reason: str

"""Every method of the daemon's socket: its parameters, its result, and what it does.

The server, the SDK, the command line's help, the OpenRPC document and the reference page are all made from this.
Fields are camelCase on the wire. Every acting method takes `agent`, the id of the agent that acts; without it the
node's first agent does. Times are unix milliseconds. Text that a peer wrote is untrusted; the types that carry it say
so, and whoever shows it strips terminal escapes.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from nexusd_protocols import limits

Page = Annotated[int, Meta(ge=1, le=limits.PAGE_ROWS)]
EventKind = Literal["peer", "room", "presence", "dm", "invoke"]
Format = Literal["text/plain", "text/markdown", "application/json"]


class Params(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Parameters by name. Unknown names are refused: a typing error must not pass for a default."""


class Acting(Params, frozen=True, kw_only=True):
    """Parameters of a method by which an agent acts."""

    agent: str | None = None


class Result(msgspec.Struct, frozen=True, rename="camel"):
    """A result. Clients ignore fields they do not know."""


class Empty(Params, frozen=True):
    """No parameters."""


class Done(Result, frozen=True):
    """The request was carried out."""


# --- node -----------------------------------------------------------------------------------------------------------
class NodeStatus(Result, frozen=True, kw_only=True):
    """What this daemon is and does."""

    name: str
    peer_id: str
    agent: str
    version: str
    role: Literal["light", "full", "storage"]
    addresses: list[str]
    """Listen addresses, each ending in /p2p/<peerId>, ready for `nexus connect`."""
    pid: int
    started_at: int
    uptime_ms: int
    data_dir: str
    socket: str
    peers_connected: int
    peers_known: int
    rooms: list[str]
    capabilities: list[str]
    discovery: dict[str, str]
    """What each source of peers is doing, such as `{"mdns": "on 127.0.0.1", "bootstrap": "2 addresses"}`."""


class SubscribeParams(Params, frozen=True, kw_only=True):
    """`cursor`: continue behind this event; without it, begin now; 0 begins with the oldest that is stored."""

    kinds: list[EventKind] | None = None
    room: str | None = None
    peer: str | None = None
    cursor: Annotated[int, Meta(ge=0)] | None = None


class Subscription(Result, frozen=True, kw_only=True):
    """`cursor` is where the subscription begins."""

    subscription: str
    cursor: int


class UnsubscribeParams(Params, frozen=True):
    """The subscription to end."""

    subscription: str


# --- peers ----------------------------------------------------------------------------------------------------------
class Peer(Result, frozen=True, kw_only=True):
    """A peer that was seen. `displayName` and `agentVersion` are the peer's own words: untrusted."""

    peer_id: str
    connected: bool
    direction: Literal["in", "out"] | None = None
    addresses: list[str] = []
    display_name: str | None = None
    agent_version: str | None = None
    source: str = ""
    """How it was found: mdns, bootstrap, manual, inbound, dht …"""
    first_seen: int = 0
    last_seen: int = 0
    blocked: bool = False
    block_reason: str | None = None


class PeersListParams(Params, frozen=True, kw_only=True):
    """`connected`: only those connected now. `blocked`: only the blocked."""

    connected: bool = False
    blocked: bool = False


class PeersList(Result, frozen=True, kw_only=True):
    peers: list[Peer]


class PeersConnectParams(Params, frozen=True):
    """`address` ends in /p2p/<peerId>."""

    address: str


class PeersBlockParams(Params, frozen=True, kw_only=True):
    peer: str
    reason: str | None = None


class PeersUnblockParams(Params, frozen=True, kw_only=True):
    peer: str


# --- profile --------------------------------------------------------------------------------------------------------
class Profile(Result, frozen=True, kw_only=True):
    """What an agent tells others of itself."""

    agent: str
    display_name: str
    description: str
    agent_type: str


class ProfileGetParams(Acting, frozen=True, kw_only=True):
    """The agent that is asked about."""


class ProfileSetParams(Acting, frozen=True, kw_only=True):
    """Fields that are left out stay as they are."""

    display_name: Annotated[str, Meta(max_length=limits.DISPLAY_NAME_CHARS)] | None = None
    description: Annotated[str, Meta(max_length=limits.DESCRIPTION_CHARS)] | None = None
    agent_type: Literal["autonomous", "assistant", "tool", "infrastructure"] | None = None


# --- rooms ----------------------------------------------------------------------------------------------------------
class RoomParams(Acting, frozen=True, kw_only=True):
    room: str


class Room(Result, frozen=True, kw_only=True):
    room: str
    joined_at: int
    messages: int
    members_online: int


class RoomsList(Result, frozen=True, kw_only=True):
    rooms: list[Room]


class RoomSendParams(Acting, frozen=True, kw_only=True):
    room: str
    content: str
    format: Format = "text/plain"
    reply_to: str | None = None
    thread_id: str | None = None
    references: Annotated[list[str], Meta(max_length=limits.REFERENCES)] = []


class RoomSent(Result, frozen=True, kw_only=True):
    """The message is committed here; `peers` is how many neighbours in the room it was handed to."""

    message_id: str
    cursor: int
    peers: int


class RoomMessage(Result, frozen=True, kw_only=True):
    """A chat message. `sender` is verified: it signed. Everything else is the sender's word: untrusted."""

    room: str
    message_id: str
    sender: str
    sender_name: str | None = None
    timestamp: int
    received_at: int
    content: str
    format: str
    reply_to: str | None = None
    thread_id: str | None = None
    references: list[str] = []
    digest: str
    """SHA-256 of the signed message, hex: its name in the room's history."""
    position: int
    """This daemon's own order; page through history by it."""


class RoomHistoryParams(Acting, frozen=True, kw_only=True):
    """Oldest first. `after` a position reads forward, `before` one reads the page that ends there; neither: the newest."""

    room: str
    after: int | None = None
    before: int | None = None
    limit: Page = 50


class RoomHistory(Result, frozen=True, kw_only=True):
    """`more`: whether another page follows in the direction asked for. `first`/`last`: positions to continue from."""

    messages: list[RoomMessage]
    more: bool
    first: int | None = None
    last: int | None = None


class RoomMember(Result, frozen=True, kw_only=True):
    """`status` is offline once 120 s passed without a presence message."""

    agent: str
    name: str | None
    agent_type: str | None
    status: Literal["online", "idle", "busy", "offline"]
    capabilities: list[str]
    last_seen: int


class RoomMembers(Result, frozen=True, kw_only=True):
    members: list[RoomMember]


# --- direct messages ------------------------------------------------------------------------------------------------
class DmSendParams(Acting, frozen=True, kw_only=True):
    peer: str
    content: str
    format: Format = "text/plain"


class DmSent(Result, frozen=True, kw_only=True):
    """`stored`: the receiver committed it and said so. `unconfirmed`: it was handed over, but a peer of this kind says
    nothing more."""

    message_id: str
    peer: str
    status: Literal["stored", "unconfirmed"]


class DirectMessage(Result, frozen=True, kw_only=True):
    """`content` is the sender's word: untrusted."""

    peer: str
    direction: Literal["in", "out"]
    message_id: str
    sender: str
    sender_name: str | None = None
    timestamp: int
    content: str
    format: str
    status: Literal["received", "sending", "stored", "unconfirmed", "failed"]
    position: int


class DmListParams(Acting, frozen=True, kw_only=True):
    """As `room.history`; `peer` limits it to one conversation."""

    peer: str | None = None
    after: int | None = None
    before: int | None = None
    limit: Page = 50


class DmList(Result, frozen=True, kw_only=True):
    messages: list[DirectMessage]
    more: bool
    first: int | None = None
    last: int | None = None


# --- capabilities ---------------------------------------------------------------------------------------------------
class Capability(Result, frozen=True, kw_only=True):
    """A capability and whether it can be called now. Of a remote peer, its own words: untrusted."""

    name: str
    available: bool
    description: str = ""
    free: bool = True
    streaming: bool = True
    max_input_bytes: int = limits.INVOKE_MAX_INPUT_BYTES
    queue_ms: int = 0
    """Estimated wait before a new call starts."""
    kind: Literal["connection", "command", "openai"] | None = None
    """How this daemon serves it; none for a remote peer's."""


class CapabilityListParams(Acting, frozen=True, kw_only=True):
    """Without `peer`, what this daemon serves."""

    peer: str | None = None


class CapabilityList(Result, frozen=True, kw_only=True):
    """`answered` is false where the peer does not serve the handshake: its capabilities are then unknown, not absent."""

    peer: str
    answered: bool
    capabilities: list[Capability]


class CapabilityOptions(Acting, frozen=True, kw_only=True):
    name: str
    description: Annotated[str, Meta(max_length=limits.DESCRIPTION_CHARS)] = ""
    max_concurrent: Annotated[int, Meta(ge=1, le=1024)] = 4
    timeout_ms: Annotated[int, Meta(ge=1, le=limits.INVOKE_DURATION_CEILING_MS)] = 600_000
    max_input_bytes: Annotated[int, Meta(ge=0, le=limits.INVOKE_INPUT_CEILING_BYTES)] = 1 * limits.MIB


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


class Invocation(Result, frozen=True, kw_only=True):
    """`credit` is how many bytes of input may be sent before the daemon grants more."""

    invocation: str
    credit: int


class InvokeInputParams(Params, frozen=True, kw_only=True):
    """More input, in pieces of at most 256 KiB. With `final`, `data` may be left out: the input ends with what was sent."""

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
    """A provider's output. `event` is token, progress, partial, result or a word of its own."""

    invocation: str
    event: Annotated[str, Meta(max_length=64)] = "partial"
    data: Any = None


# --- configuration --------------------------------------------------------------------------------------------------
class ConfigValue(Result, frozen=True, kw_only=True):
    """`origin` is `default`, `file <path>`, `environment NEXUS_…` or `flag --…`."""

    key: str
    value: Any
    origin: str


class ConfigShow(Result, frozen=True, kw_only=True):
    values: list[ConfigValue]


class OpenRpcDocument(Result, frozen=True, kw_only=True):
    """An OpenRPC 1.3 document: this table, for programs."""

    openrpc: str
    info: dict[str, Any]
    methods: list[dict[str, Any]]
    components: dict[str, Any]


# --- what the daemon sends ------------------------------------------------------------------------------------------
class NodeEvent(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`node.event`. `cursor` is set where the event is stored: subscribe with it to continue behind it. Presence, peer
    and progress events are live only and have none. `data` depends on `kind` and `type`:

    peer: connected | disconnected | discovered {peerId, address?, source?}
    room: message RoomMessage | joined {room} | left {room}
    presence: changed RoomMember + {room}
    dm: message DirectMessage
    invoke: started | finished {invocation, direction, peer, capability, outcome?, inputBytes?, outputBytes?, durationMs?}
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
    """{"code", "message", "remoteCode"?}: `code` of the error table, `remoteCode` the provider's own word."""


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


class Method(msgspec.Struct, frozen=True):
    """A row of the table. `command` is what a person types for it."""

    name: str
    params: type[msgspec.Struct]
    result: type[Result]
    summary: str
    command: str = ""
    errors: tuple[str, ...] = ()


class Notification(msgspec.Struct, frozen=True):
    """What the daemon sends unasked."""

    name: str
    params: type[msgspec.Struct]
    summary: str


_PEER = ("invalid_peer", "ambiguous_peer", "unknown_peer")
_REACH = (*_PEER, "peer_blocked", "unreachable", "unsupported", "connection_lost", "timeout")

METHODS: Final[dict[str, Method]] = {
    row.name: row
    for row in (
        Method("node.status", Empty, NodeStatus, "What this daemon is and does", "nexus status"),
        Method("node.subscribe", SubscribeParams, Subscription, "Receive events as node.event notifications", "nexus events", ("bad_cursor",)),
        Method("node.unsubscribe", UnsubscribeParams, Done, "End a subscription"),
        Method("node.shutdown", Empty, Done, "Drain and stop the daemon", "nexus stop"),
        Method("peers.list", PeersListParams, PeersList, "Peers seen, the connected ones first", "nexus peers"),
        Method("peers.connect", PeersConnectParams, Peer, "Dial an address", "nexus connect", ("invalid_address", "peer_blocked", "unreachable", "timeout")),
        Method("peers.block", PeersBlockParams, Done, "Refuse everything from a peer, and cut it off now", "nexus peers block", _PEER),
        Method("peers.unblock", PeersUnblockParams, Done, "Allow a blocked peer again", "nexus peers unblock", _PEER),
        Method("profile.get", ProfileGetParams, Profile, "What this agent tells others of itself", "nexus profile show"),
        Method("profile.set", ProfileSetParams, Profile, "Change what this agent tells others of itself", "nexus profile set"),
        Method("room.join", RoomParams, Room, "Join a room; membership is kept over restarts", "nexus room join", ("invalid_name",)),
        Method("room.leave", RoomParams, Done, "Leave a room; its history stays", "nexus room leave", ("invalid_name", "not_joined")),
        Method("room.list", ProfileGetParams, RoomsList, "Rooms that were joined", "nexus room list"),
        Method("room.send", RoomSendParams, RoomSent, "Say something to a room", "nexus room send", ("invalid_name", "not_joined", "too_large")),
        Method("room.history", RoomHistoryParams, RoomHistory, "What was said in a room", "nexus room history", ("invalid_name",)),
        Method("room.members", RoomParams, RoomMembers, "Who is in a room", "nexus room members", ("invalid_name", "not_joined")),
        Method("dm.send", DmSendParams, DmSent, "Send a direct message", "nexus dm send", (*_REACH, "too_large")),
        Method("dm.list", DmListParams, DmList, "Direct messages, sent and received", "nexus dm list", _PEER),
        Method("capability.list", CapabilityListParams, CapabilityList, "What a peer, or this daemon, can do", "nexus capability list", _REACH),
        Method("capability.register", CapabilityRegisterParams, Done, "Serve a capability on this connection", "", ("invalid_name", "capability_taken")),
        Method("capability.serve", CapabilityServeParams, Capability, "Let the daemon serve a command or a chat endpoint", "nexus capability serve", ("invalid_name", "capability_taken", "refused")),
        Method("capability.unregister", CapabilityNameParams, Done, "Stop serving a capability", "nexus capability remove", ("capability_unknown",)),
        Method("capability.invoke", InvokeParams, Invocation, "Call a capability", "nexus invoke", (*_REACH, "invalid_name", "too_large")),
        Method("invoke.input", InvokeInputParams, Done, "Send more input", "", ("invocation_unknown", "out_of_credit")),
        Method("invoke.credit", InvokeCreditParams, Done, "Grant more bytes, as caller or as provider", "", ("invocation_unknown",)),
        Method("invoke.cancel", InvokeCancelParams, Done, "Give up a call", "", ("invocation_unknown",)),
        Method("call.event", CallEventParams, Done, "Send output of a call that this connection serves", "", ("invocation_unknown", "out_of_credit")),
        Method("config.show", Empty, ConfigShow, "Every setting, and where it came from", "nexus config show"),
        Method("rpc.discover", Empty, OpenRpcDocument, "This interface as an OpenRPC document", "nexusd openrpc"),
    )
}  # fmt: skip

NOTIFICATIONS: Final[dict[str, Notification]] = {
    row.name: row
    for row in (
        Notification("node.event", NodeEvent, "Something happened"),
        Notification(
            "node.subscriptionEnded",
            SubscriptionEnded,
            "No more events will come on this subscription",
        ),
        Notification("invoke.event", InvokeEvent, "Output of a call this connection made"),
        Notification("invoke.end", InvokeEnd, "A call this connection made is over"),
        Notification("invoke.credit", InvokeCreditParams, "More bytes may be sent, as caller or as provider"),
        Notification("call.input", CallInput, "Input of such a call"),
        Notification("call.cancelled", CallCancelled, "Nobody waits for the answer to such a call any more"),
    )
}

PROVIDER_METHODS: Final[dict[str, Method]] = {
    "capability.invoke": Method(
        "capability.invoke", IncomingCall, Done, "A call to a capability that this connection serves"
    )
}
"""What the daemon asks of a client."""

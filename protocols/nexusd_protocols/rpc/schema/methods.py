"""The table of methods and notifications."""

from __future__ import annotations

from typing import Final

import msgspec

from nexusd_protocols.rpc.schema.capabilities import (
    CallEventParams,
    Capability,
    CapabilityList,
    CapabilityListParams,
    CapabilityNameParams,
    CapabilityRegisterParams,
    CapabilityServeParams,
    Invocation,
    InvokeCancelParams,
    InvokeCreditParams,
    InvokeInputParams,
    InvokeParams,
)
from nexusd_protocols.rpc.schema.content import (
    ContentBeginParams,
    ContentCollected,
    ContentCollectParams,
    ContentDirectoryParams,
    ContentFetched,
    ContentFetchParams,
    ContentList,
    ContentListParams,
    ContentParams,
    ContentPin,
    ContentPinParams,
    ContentPut,
    ContentRead,
    ContentReadInto,
    ContentReadIntoParams,
    ContentReadParams,
    ContentStat,
    ContentStatParams,
    ContentUpload,
    ContentUploadParams,
    ContentWriteFromParams,
    ContentWriteParams,
    ContentWritten,
    StorageShow,
)
from nexusd_protocols.rpc.schema.events import (
    CallCancelled,
    CallInput,
    IncomingCall,
    InvokeEnd,
    InvokeEvent,
    NodeEvent,
    SubscriptionEnded,
)
from nexusd_protocols.rpc.schema.find import (
    AgentFound,
    CapabilityFound,
    FindAgentParams,
    FindCapabilityParams,
    FindRoomParams,
    RoomFound,
)
from nexusd_protocols.rpc.schema.inbox import DmList, DmListParams, DmSendParams, DmSent
from nexusd_protocols.rpc.schema.node import (
    ConfigShow,
    NodeMetrics,
    NodeStatus,
    OpenRpcDocument,
    SubscribeParams,
    Subscription,
    UnsubscribeParams,
)
from nexusd_protocols.rpc.schema.payments import (
    PayCleared,
    PayClearParams,
    PayExplained,
    PayIdParams,
    PayListParams,
    PayPolicy,
    PayPolicySetParams,
    PaySettleParams,
    PaySettleStatus,
    PayStopParams,
    PayStopped,
    PayTrust,
    PayTrustParams,
    PayUsage,
    PayUsageParams,
    PayVerified,
    PayVerifyParams,
    PurchaseList,
    PurchaseView,
    WalletBackup,
    WalletBalances,
    WalletImportParams,
    WalletNewParams,
    WalletShow,
    WalletUnlockParams,
)
from nexusd_protocols.rpc.schema.peers import (
    Peer,
    PeersBanParams,
    PeersBlockParams,
    PeersConnectParams,
    PeersList,
    PeersListParams,
    PeersUnbanParams,
    PeersUnblockParams,
    Profile,
    ProfileGetParams,
    ProfileSetParams,
)
from nexusd_protocols.rpc.schema.room_log import (
    RoomEditParams,
    RoomHistory,
    RoomHistoryParams,
    RoomMessageParams,
    RoomSearchParams,
    RoomSynced,
    RoomVerified,
    RoomVerifyParams,
    RoomVersions,
)
from nexusd_protocols.rpc.schema.rooms import (
    Room,
    RoomCreateParams,
    RoomMembers,
    RoomMirrorParams,
    RoomParams,
    RoomSendParams,
    RoomSent,
    RoomsList,
    RoomsStats,
    RoomStatsParams,
)
from nexusd_protocols.rpc.schema.shape import Done, Empty, FileUse, Result


class Method(msgspec.Struct, frozen=True):
    """A row of the table. `command` is what a person types for it, `file` what the daemon does with the open file that
    must come with the request (specs/rpc.md §6), if one must."""

    name: str
    params: type[msgspec.Struct]
    result: type[Result]
    summary: str
    command: str = ""
    errors: tuple[str, ...] = ()
    file: FileUse | None = None


class Notification(msgspec.Struct, frozen=True):
    """What the daemon sends unasked."""

    name: str
    params: type[msgspec.Struct]
    summary: str


_PEER = ("invalid_peer", "ambiguous_peer", "unknown_peer")
_REFUSED = ("peer_blocked", "peer_banned", "not_allowed")
_REACH = (*_PEER, *_REFUSED, "unreachable", "unsupported", "connection_lost", "timeout")

_CONTENT: Final = ("invalid_cid", "content_not_found", "bad_content", "timeout")

METHODS: Final[dict[str, Method]] = {
    row.name: row
    for row in (
        Method("node.status", Empty, NodeStatus, "What this daemon is and does", "nexus status"),
        Method("node.subscribe", SubscribeParams, Subscription, "Receive events as node.event notifications", "nexus events", ("bad_cursor",)),
        Method("node.unsubscribe", UnsubscribeParams, Done, "End a subscription"),
        Method("node.metrics", Empty, NodeMetrics, "Figures of this daemon, for Prometheus", "nexus metrics"),
        Method("node.shutdown", Empty, Done, "Drain and stop the daemon", "nexus stop"),
        Method("peers.list", PeersListParams, PeersList, "Peers seen, the connected ones first", "nexus peers"),
        Method("peers.connect", PeersConnectParams, Peer, "Dial an address", "nexus connect", ("invalid_address", *_REFUSED, "unreachable", "timeout")),
        Method("peers.block", PeersBlockParams, Done, "Refuse everything from a peer, and cut it off now", "nexus peers block", _PEER),
        Method("peers.unblock", PeersUnblockParams, Done, "Allow a blocked peer again", "nexus peers unblock", _PEER),
        Method("peers.ban", PeersBanParams, Done, "Refuse everything from a peer for a time, and cut it off now", "nexus peers ban", _PEER),
        Method("peers.unban", PeersUnbanParams, Done, "End a peer's ban now, and forget it", "nexus peers unban", _PEER),
        Method("profile.get", ProfileGetParams, Profile, "What this agent tells others of itself", "nexus profile show"),
        Method("profile.set", ProfileSetParams, Profile, "Change what this agent tells others of itself", "nexus profile set"),
        Method("room.create", RoomCreateParams, Room, "Make a room, join it, and announce it", "nexus room create", ("invalid_name", "not_allowed", "refused", "busy")),
        Method("room.join", RoomParams, Room, "Join a room; membership is kept over restarts", "nexus room join", ("invalid_name", "not_allowed")),
        Method("room.leave", RoomParams, Done, "Leave a room; its history stays", "nexus room leave", ("invalid_name", "not_joined")),
        Method("room.list", ProfileGetParams, RoomsList, "Rooms that were joined", "nexus room list"),
        Method("room.send", RoomSendParams, RoomSent, "Say something to a room", "nexus room send", ("invalid_name", "not_joined", "too_large", "quota_exceeded")),
        Method("room.edit", RoomEditParams, RoomSent, "Say something else in a message of this agent's", "nexus room edit", ("invalid_name", "not_joined", "message_unknown", "not_author", "too_large", "quota_exceeded")),
        Method("room.retract", RoomMessageParams, RoomSent, "Take a message of this agent's back", "nexus room retract", ("invalid_name", "not_joined", "message_unknown", "not_author", "quota_exceeded")),
        Method("room.history", RoomHistoryParams, RoomHistory, "What was said in a room", "nexus room history", ("invalid_name", *_PEER)),
        Method("room.search", RoomSearchParams, RoomHistory, "Find words in a room's history", "nexus room search", ("invalid_name",)),
        Method("room.versions", RoomMessageParams, RoomVersions, "Everything its author signed about one message", "nexus room versions", ("invalid_name", "message_unknown")),
        Method("room.sync", RoomParams, RoomSynced, "Catch up with the members of a room now", "nexus room sync", ("invalid_name", "not_joined")),
        Method("room.verify", RoomVerifyParams, RoomVerified, "Prove a room's history: signatures, CIDs, and that members hold the same", "nexus room verify", ("invalid_name", "not_joined")),
        Method("room.mirror", RoomMirrorParams, Room, "Keep a copy of a room for others", "nexus room mirror", ("invalid_name", "not_allowed", "not_joined", "busy")),
        Method("room.members", RoomParams, RoomMembers, "Who is in a room", "nexus room members", ("invalid_name", "not_joined")),
        Method("room.stats", RoomStatsParams, RoomsStats, "How messages fare in rooms: meshes, deliveries, duplicates, losses", "nexus room stats", ("invalid_name", "not_joined")),
        Method("dm.send", DmSendParams, DmSent, "Send a direct message", "nexus dm send", (*_REACH, "too_large")),
        Method("dm.list", DmListParams, DmList, "Direct messages, sent and received", "nexus dm list", _PEER),
        Method("capability.list", CapabilityListParams, CapabilityList, "What a peer, or this daemon, can do", "nexus capability list", _REACH),
        Method("capability.register", CapabilityRegisterParams, Done, "Serve a capability on this connection", "", ("invalid_name", "capability_taken", "not_allowed")),
        Method("capability.serve", CapabilityServeParams, Capability, "Let the daemon serve a command or a chat endpoint", "nexus capability serve", ("invalid_name", "capability_taken", "not_allowed", "refused")),
        Method("capability.unregister", CapabilityNameParams, Done, "Stop serving a capability", "nexus capability remove", ("capability_unknown",)),
        Method("capability.invoke", InvokeParams, Invocation, "Call a capability", "nexus invoke", (*_REACH, "invalid_name", "too_large", "payment_unknown", "payment_refused")),
        Method("invoke.input", InvokeInputParams, Done, "Send more input", "", ("invocation_unknown", "out_of_credit")),
        Method("invoke.credit", InvokeCreditParams, Done, "Grant more bytes, as caller or as provider", "", ("invocation_unknown",)),
        Method("invoke.cancel", InvokeCancelParams, Done, "Give up a call", "", ("invocation_unknown",)),
        Method("call.event", CallEventParams, Done, "Send output of a call that this connection serves", "", ("invocation_unknown", "out_of_credit")),
        Method("content.begin", ContentBeginParams, ContentUpload, "Begin to put content", "nexus content put", ("busy", "storage_full")),
        Method("content.write", ContentWriteParams, ContentWritten, "Put the next bytes of it", "nexus content put", ("upload_unknown", "bad_offset", "too_large", "storage_full")),
        Method("content.writeFrom", ContentWriteFromParams, ContentWritten, "Put the next bytes of it out of an open file", "nexus content put", ("upload_unknown", "bad_offset", "bad_file", "too_large", "storage_full"), "read"),
        Method("content.finish", ContentUploadParams, ContentPut, "End a put: its CID", "nexus content put", ("upload_unknown", "bad_content", "storage_full")),
        Method("content.abort", ContentUploadParams, Done, "Give a put up", "", ("upload_unknown",)),
        Method("content.directory", ContentDirectoryParams, ContentPut, "Make a directory of what is here", "nexus content put", ("invalid_cid", "content_not_found", "invalid_name", "storage_full")),
        Method("content.read", ContentReadParams, ContentRead, "Read a part of a file, or a block", "nexus content get", _CONTENT),
        Method("content.readInto", ContentReadIntoParams, ContentReadInto, "Read a part of a file, or a block, into an open file", "nexus content get", (*_CONTENT, "bad_file"), "write"),
        Method("content.fetch", ContentFetchParams, ContentFetched, "Fetch content from whoever has it", "nexus content get", (*_CONTENT, "busy", "storage_full")),
        Method("content.stat", ContentStatParams, ContentStat, "What a CID names, and whether it is here", "nexus content stat", _CONTENT),
        Method("content.list", ContentListParams, ContentList, "What is kept", "nexus content ls"),
        Method("content.pin", ContentPinParams, ContentPin, "Keep content, or for another time", "nexus content pin", ("invalid_cid", "storage_full")),
        Method("content.unpin", ContentParams, Done, "Keep it no longer than others need it", "nexus content unpin", ("invalid_cid", "not_pinned")),
        Method("content.remove", ContentParams, ContentCollected, "Keep it no longer, and remove what nothing else needs", "nexus content rm", ("invalid_cid", "content_not_found")),
        Method("content.collect", ContentCollectParams, ContentCollected, "Remove what nothing kept needs", "nexus content gc", ("storage_full",)),
        Method("storage.show", Empty, StorageShow, "What the disk is used for", "nexus storage"),
        Method("find.agent", FindAgentParams, AgentFound, "Who an agent is and where it may be dialled", "nexus find agent", (*_PEER, "unreachable")),
        Method("find.room", FindRoomParams, RoomFound, "Who is in a room, and what they say of it", "nexus find room", ("invalid_name", "unreachable")),
        Method("find.capability", FindCapabilityParams, CapabilityFound, "Who offers a capability, the best first", "nexus find capability", ("invalid_name", "unreachable")),
        Method("wallet.new", WalletNewParams, WalletShow, "Make a wallet", "nexus wallet new", ("wallet_exists",)),
        Method("wallet.import", WalletImportParams, WalletShow, "Make a wallet of a key that exists", "nexus wallet import", ("wallet_exists", "wrong_password", "refused")),
        Method("wallet.unlock", WalletUnlockParams, WalletShow, "Open the wallet until the daemon stops", "nexus wallet unlock", ("no_wallet", "wrong_password", "refused")),
        Method("wallet.show", Empty, WalletShow, "The wallet's address, and whether it is open", "nexus wallet show", ("no_wallet",)),
        Method("wallet.balance", Empty, WalletBalances, "What the wallet holds on each network", "nexus wallet balance", ("no_wallet",)),
        Method("wallet.backup", Empty, WalletBackup, "The wallet's keystore, encrypted as it is", "nexus wallet backup", ("no_wallet", "refused")),
        Method("pay.policy", ProfileGetParams, PayPolicy, "What may be paid, and what is spent of it", "nexus pay policy show"),
        Method("pay.setPolicy", PayPolicySetParams, PayPolicy, "Change what may be paid", "nexus pay policy set", _PEER),
        Method("pay.stop", PayStopParams, PayStopped, "Stop all paying, or allow it again", "nexus pay stop"),
        Method("pay.approvals", ProfileGetParams, PurchaseList, "Payments that wait for a person", "nexus pay approvals"),
        Method("pay.approve", PayIdParams, PurchaseView, "Agree to a payment; its call goes on", "nexus pay approve", ("payment_unknown", "ambiguous_payment", "payment_refused", "refused")),
        Method("pay.reject", PayIdParams, PurchaseView, "Reject a payment; its call ends", "nexus pay reject", ("payment_unknown", "ambiguous_payment", "refused")),
        Method("pay.history", PayListParams, PurchaseList, "Payments that were made", "nexus pay history"),
        Method("pay.explain", PayIdParams, PayExplained, "All that is known of a payment", "nexus pay explain", ("payment_unknown", "ambiguous_payment")),
        Method("pay.verify", PayVerifyParams, PayVerified, "Whether a receipt is signed by whom it names", "nexus pay verify"),
        Method("pay.settlements", PaySettleParams, PaySettleStatus, "What is owed to this agent, and what became of it", "nexus pay settle"),
        Method("pay.trust", PayTrustParams, PayTrust, "How far those who pay here are trusted, and who took a payment back", "nexus pay trust", _PEER),
        Method("pay.clear", PayClearParams, PayCleared, "Let what a payer took back stand against it no more", "nexus pay clear", _PEER),
        Method("pay.usage", PayUsageParams, PayUsage, "What was used and paid, by peer and capability", "nexus pay usage"),
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

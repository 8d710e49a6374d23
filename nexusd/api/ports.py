"""What the doors ask of the services. Every method returns the schema's result, or a `Refusal`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import trio

from nexusd.services.capabilities.ports import Call, Provider
from nexusd.services.content.ports import OpenFile
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal


class NodeService(Protocol):
    """The daemon as a whole."""

    async def status(self) -> schema.NodeStatus: ...

    async def config(self) -> schema.ConfigShow: ...

    async def shutdown(self) -> schema.Done:
        """Begin to drain, and return at once: the answer still goes out."""
        ...


class MetricsService(Protocol):
    """Figures of the daemon."""

    async def expose(self) -> schema.NodeMetrics: ...


class PeersService(Protocol):
    """Peers seen."""

    async def list(self, params: schema.PeersListParams) -> schema.PeersList | Refusal: ...

    async def connect(self, params: schema.PeersConnectParams) -> schema.Peer | Refusal: ...

    async def block(self, params: schema.PeersBlockParams) -> schema.Done | Refusal: ...

    async def unblock(self, params: schema.PeersUnblockParams) -> schema.Done | Refusal: ...


class BansService(Protocol):
    """Peers refused for a time."""

    async def ban(self, params: schema.PeersBanParams) -> schema.Done | Refusal: ...

    async def unban(self, params: schema.PeersUnbanParams) -> schema.Done | Refusal: ...


class ProfileService(Protocol):
    """What agents tell of themselves."""

    async def get(self, params: schema.ProfileGetParams) -> schema.Profile | Refusal: ...

    async def set(self, params: schema.ProfileSetParams) -> schema.Profile | Refusal: ...


class RoomsService(Protocol):
    """Rooms."""

    async def create(self, params: schema.RoomCreateParams) -> schema.Room | Refusal: ...

    async def join(self, params: schema.RoomParams) -> schema.Room | Refusal: ...

    async def leave(self, params: schema.RoomParams) -> schema.Done | Refusal: ...

    async def list(self, params: schema.ProfileGetParams) -> schema.RoomsList | Refusal: ...

    async def send(self, params: schema.RoomSendParams) -> schema.RoomSent | Refusal: ...

    async def edit(self, params: schema.RoomEditParams) -> schema.RoomSent | Refusal: ...

    async def retract(self, params: schema.RoomMessageParams) -> schema.RoomSent | Refusal: ...

    async def history(self, params: schema.RoomHistoryParams) -> schema.RoomHistory | Refusal: ...

    async def search(self, params: schema.RoomSearchParams) -> schema.RoomHistory | Refusal: ...

    async def versions(self, params: schema.RoomMessageParams) -> schema.RoomVersions | Refusal: ...

    async def sync(self, params: schema.RoomParams) -> schema.RoomSynced | Refusal: ...

    async def verify(self, params: schema.RoomVerifyParams) -> schema.RoomVerified | Refusal: ...

    async def mirror(self, params: schema.RoomMirrorParams) -> schema.Room | Refusal: ...

    async def members(self, params: schema.RoomParams) -> schema.RoomMembers | Refusal: ...

    async def stats(self, params: schema.RoomStatsParams) -> schema.RoomsStats | Refusal: ...


class InboxService(Protocol):
    """Direct messages."""

    async def send(self, params: schema.DmSendParams) -> schema.DmSent | Refusal: ...

    async def list(self, params: schema.DmListParams) -> schema.DmList | Refusal: ...


class CapabilitiesService(Protocol):
    """Capabilities, called and served."""

    async def list(self, params: schema.CapabilityListParams) -> schema.CapabilityList | Refusal: ...

    async def serve(self, params: schema.CapabilityServeParams) -> schema.Capability | Refusal: ...

    async def register(self, params: schema.CapabilityRegisterParams, provider: Provider) -> schema.Done | Refusal:
        """Serve through a connection. All capabilities of one connection come with the same `provider`."""
        ...

    async def unregister(self, params: schema.CapabilityNameParams, owner: Provider) -> schema.Done | Refusal:
        """Stop serving a capability that `owner` registered, or that the daemon itself serves. One that another
        connection registered is `capability_unknown`."""
        ...

    def release(self, provider: Provider) -> None:
        """A connection is gone: what came with its `provider` is served no more. Never waits."""
        ...

    async def invoke(self, params: schema.InvokeParams) -> Call | Refusal: ...


class DirectoryService(Protocol):
    """What others published."""

    async def find_agent(self, params: schema.FindAgentParams) -> schema.AgentFound | Refusal: ...

    async def find_room(self, params: schema.FindRoomParams) -> schema.RoomFound | Refusal: ...

    async def find_capability(self, params: schema.FindCapabilityParams) -> schema.CapabilityFound | Refusal: ...


class ContentService(Protocol):
    """Content by its address."""

    async def begin(self, params: schema.ContentBeginParams) -> schema.ContentUpload | Refusal: ...

    async def write(self, params: schema.ContentWriteParams) -> schema.ContentWritten | Refusal: ...

    async def write_from(
        self, params: schema.ContentWriteFromParams, file: OpenFile
    ) -> schema.ContentWritten | Refusal: ...

    async def finish(self, params: schema.ContentUploadParams) -> schema.ContentPut | Refusal: ...

    async def abort(self, params: schema.ContentUploadParams) -> schema.Done | Refusal: ...

    async def directory(self, params: schema.ContentDirectoryParams) -> schema.ContentPut | Refusal: ...

    async def read(self, params: schema.ContentReadParams) -> schema.ContentRead | Refusal: ...

    async def read_into(
        self, params: schema.ContentReadIntoParams, file: OpenFile
    ) -> schema.ContentReadInto | Refusal: ...

    async def fetch(self, params: schema.ContentFetchParams) -> schema.ContentFetched | Refusal: ...

    async def stat(self, params: schema.ContentStatParams) -> schema.ContentStat | Refusal: ...

    async def list(self, params: schema.ContentListParams) -> schema.ContentList | Refusal: ...

    async def pin(self, params: schema.ContentPinParams) -> schema.ContentPin | Refusal: ...

    async def unpin(self, params: schema.ContentParams) -> schema.Done | Refusal: ...

    async def remove(self, params: schema.ContentParams) -> schema.ContentCollected | Refusal: ...

    async def collect(self, params: schema.ContentCollectParams) -> schema.ContentCollected | Refusal: ...

    async def show(self) -> schema.StorageShow | Refusal: ...


class WalletService(Protocol):
    """The key that pays."""

    async def new(self, params: schema.WalletNewParams) -> schema.WalletShow | Refusal: ...

    async def import_(self, params: schema.WalletImportParams) -> schema.WalletShow | Refusal: ...

    async def unlock(self, params: schema.WalletUnlockParams) -> schema.WalletShow | Refusal: ...

    async def show(self) -> schema.WalletShow | Refusal: ...

    async def backup(self) -> schema.WalletBackup | Refusal: ...


class PaymentsService(Protocol):
    """Payments made and taken."""

    async def balance(self) -> schema.WalletBalances | Refusal: ...

    async def policy(self, params: schema.ProfileGetParams) -> schema.PayPolicy | Refusal: ...

    async def set_policy(self, params: schema.PayPolicySetParams) -> schema.PayPolicy | Refusal: ...

    async def stop(self, params: schema.PayStopParams) -> schema.PayStopped: ...

    async def approvals(self, params: schema.ProfileGetParams) -> schema.PurchaseList | Refusal: ...

    async def approve(self, params: schema.PayIdParams) -> schema.PurchaseView | Refusal: ...

    async def reject(self, params: schema.PayIdParams) -> schema.PurchaseView | Refusal: ...

    async def history(self, params: schema.PayListParams) -> schema.PurchaseList | Refusal: ...

    async def explain(self, params: schema.PayIdParams) -> schema.PayExplained | Refusal: ...

    async def verify(self, params: schema.PayVerifyParams) -> schema.PayVerified: ...

    async def settlements(self, params: schema.PaySettleParams) -> schema.PaySettleStatus | Refusal: ...

    async def trust(self, params: schema.PayTrustParams) -> schema.PayTrust | Refusal: ...

    async def clear(self, params: schema.PayClearParams) -> schema.PayCleared | Refusal: ...

    async def usage(self, params: schema.PayUsageParams) -> schema.PayUsage | Refusal: ...


class StoredEvent(Protocol):
    """An event of the log. `data` is JSON-encodable."""

    @property
    def cursor(self) -> int: ...

    @property
    def kind(self) -> schema.EventKind: ...

    @property
    def type(self) -> str: ...

    @property
    def at(self) -> int: ...

    @property
    def data(self) -> Any: ...


class LiveEvent(Protocol):
    """An event that is not stored."""

    @property
    def kind(self) -> schema.EventKind: ...

    @property
    def type(self) -> str: ...

    @property
    def at(self) -> int: ...

    @property
    def data(self) -> Any: ...


class EventsService(Protocol):
    """The event feed: stored events by cursor, live ones as they happen."""

    async def read(
        self,
        *,
        after: int,
        kinds: Collection[schema.EventKind] | None,
        room: str | None,
        peer: str | None,
        limit: int,
    ) -> Sequence[StoredEvent]:
        """Stored events behind a cursor that fit the filter, oldest first, at most `limit`: fewer where they are large.
        Only an empty answer says that there are no more."""
        ...

    async def wait_beyond(self, cursor: int) -> int:
        """Wait until an event behind the cursor is stored, of whatever kind; the newest cursor then."""
        ...

    def newest(self) -> int:
        """The cursor of the newest stored event; 0 where there is none. `read` called later sees that event."""
        ...

    def subscribe_live(
        self, kinds: Collection[schema.EventKind] | None, room: str | None, peer: str | None
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Any]]:
        """Live events while the context is held; bounded, the newest are dropped where the reader is behind."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All of them, as `nexusd.app` hands them to a door."""

    node: NodeService
    metrics: MetricsService
    peers: PeersService
    bans: BansService
    profile: ProfileService
    rooms: RoomsService
    inbox: InboxService
    capabilities: CapabilitiesService
    content: ContentService
    directory: DirectoryService
    events: EventsService
    payments: PaymentsService
    wallet: WalletService

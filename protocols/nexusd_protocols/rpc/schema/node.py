"""The daemon: status, subscriptions, configuration, and the interface itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from nexusd_protocols.rpc.schema.shape import EventKind, Params, Result


class ConnectionUsage(Result, frozen=True, kw_only=True):
    """Connections to peers. `open` of at most `limit` are up, both ways; others made `inbound` of them, of at most
    `inboundLimit`. `inTransit` are not yet authenticated. `refused` were turned away or cut since the start."""

    open: int
    limit: int
    inbound: int
    inbound_limit: int
    in_transit: int
    refused: int


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
    connections: ConnectionUsage
    rooms: list[str]
    capabilities: list[str]
    discovery: dict[str, str]
    """What each source of peers is doing, such as `{"mdns": "on 127.0.0.1", "bootstrap": "2 addresses"}`."""


class NodeMetrics(Result, frozen=True, kw_only=True):
    """Figures of this daemon in the text format of Prometheus, version 0.0.4: docs/reference/metrics.md lists them."""

    text: str


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

"""Peers, and the profile that an agent shows them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from nexusd_protocols import limits
from nexusd_protocols.rpc.schema.shape import Acting, Params, Result


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

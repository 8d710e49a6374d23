"""Peers, and the profile that an agent shows them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from nexusd_protocols import limits
from nexusd_protocols.rpc.schema.shape import Acting, Params, Result


class Ban(Result, frozen=True, kw_only=True):
    """A peer is refused until `until`. `times` counts its bans of late, this one included: each is longer than the one
    before. `reason` is the last offence, or what the person said who imposed it (`byHand`)."""

    reason: str
    since: int
    until: int
    times: int
    by_hand: bool = False


class TopicScore(Result, frozen=True, kw_only=True):
    """What a peer's conduct in one topic adds to its score, each part with its weight: `p1` its time in the mesh, `p2`
    what it delivered first, `p3` and `p3b` what it owed the mesh and did not deliver, `p4` what did not verify."""

    topic: str
    in_mesh: bool
    p1: float
    p2: float
    p3: float
    p3b: float
    p4: float


class PeerScore(Result, frozen=True, kw_only=True):
    """`total` is the GossipSub score: below 0 a peer is in no mesh; None for one that does not speak GossipSub. Its
    parts: `topics`, `p5` for what it owes, `p6` for peers behind one address, `p7` for rules broken. `penalty` is what
    the peer owes for breaking protocols of whatever kind: points that fade, and a ban at 1000."""

    total: float | None = None
    penalty: float = 0.0
    topics: list[TopicScore] = []
    p5: float = 0.0
    p6: float = 0.0
    p7: float = 0.0


class Peer(Result, frozen=True, kw_only=True):
    """A peer that was seen. `displayName` and `agentVersion` are the peer's own words: untrusted."""

    peer_id: str
    connected: bool
    direction: Literal["in", "out"] | None = None
    addresses: list[str] = []
    display_name: str | None = None
    agent_version: str | None = None
    source: str = ""
    """How it was found: mdns, bootstrap, direct, manual, inbound, dht …"""
    first_seen: int = 0
    last_seen: int = 0
    direct: bool = False
    """Whether this daemon is configured to stay connected to it, and to send it every message of its rooms."""
    blocked: bool = False
    block_reason: str | None = None
    ban: Ban | None = None
    score: PeerScore | None = None
    """Only if it was asked for, and the peer is connected."""


class PeersListParams(Params, frozen=True, kw_only=True):
    """`connected`: only those connected now. `blocked`: only the blocked. `banned`: only those banned now. `scores`:
    only those connected now, with their scores, the worst first."""

    connected: bool = False
    blocked: bool = False
    banned: bool = False
    scores: bool = False


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


class PeersBanParams(Params, frozen=True, kw_only=True):
    """`durationMs` is how long from now on."""

    peer: str
    duration_ms: Annotated[int, Meta(ge=1000, le=limits.BAN_MS)] = 3_600_000
    reason: str | None = None


class PeersUnbanParams(Params, frozen=True, kw_only=True):
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

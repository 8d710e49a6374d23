"""What a router is told: by its peers, by the application, by the clock."""

from __future__ import annotations

import enum
from typing import Literal

import msgspec

from nexusd_protocols.gossipsub.rpc import Rpc
from nexusd_protocols.identity import PeerId
from nexusd_protocols.pubsub.signed import SignedMessage

Verdict = Literal["accept", "ignore", "reject"]
"""What validation says of a message (gossipsub-v1.1 "Extended Validators"). Reject blames whoever forwarded it."""


class Version(enum.IntEnum):
    """What a peer speaks. The newer understands all that the older does."""

    FLOODSUB = 0
    V1_0 = 10
    V1_1 = 11
    V1_2 = 12

    @classmethod
    def of(cls, protocol: str) -> Version | None:
        """The version of a libp2p protocol id, None if it is no pubsub protocol."""
        return _PROTOCOLS.get(protocol)


_PROTOCOLS = {
    "/meshsub/1.2.0": Version.V1_2,
    "/meshsub/1.1.0": Version.V1_1,
    "/meshsub/1.0.0": Version.V1_0,
    "/floodsub/1.0.0": Version.FLOODSUB,
}


class PeerJoined(msgspec.Struct, frozen=True):
    """RPCs can be exchanged with a peer from now on. A peer that is known begins anew, with the score it had.

    `outbound`: we opened the connection. `address`: where it counts for P6, usually an IP address; empty exempts it.
    `direct`: an explicit peering agreement (gossipsub-v1.1 "Explicit Peering Agreements").
    """

    peer: PeerId
    version: Version
    outbound: bool = False
    address: str = ""
    direct: bool = False


class PeerLeft(msgspec.Struct, frozen=True):
    """No RPC can be exchanged with the peer any more. Unknown ones are ignored."""

    peer: PeerId


class Received(msgspec.Struct, frozen=True):
    """An RPC of a peer."""

    peer: PeerId
    rpc: Rpc


class Join(msgspec.Struct, frozen=True):
    """The application wants the messages of a topic. Joining again changes nothing."""

    topic: str


class Leave(msgspec.Struct, frozen=True):
    """The application wants no more of a topic. Leaving what was not joined changes nothing."""

    topic: str


class Publish(msgspec.Struct, frozen=True):
    """Send a message of our own, signed. One that was seen before goes nowhere."""

    message: SignedMessage


class Validated(msgspec.Struct, frozen=True):
    """The answer to a `Validate`. One that comes too late is ignored."""

    ticket: int
    verdict: Verdict


class ApplicationScore(msgspec.Struct, frozen=True):
    """P5 of a peer from now on: positive for trust, negative for misbehaviour that the router cannot see. It is kept
    for a peer that is not connected only if the peer has a score."""

    peer: PeerId
    score: float


class Tick(msgspec.Struct, frozen=True):
    """The time is (at least) what `deadline` said. Sooner changes nothing."""


Input = PeerJoined | PeerLeft | Received | Join | Leave | Publish | Validated | ApplicationScore | Tick

"""What a router is told: by its peers, by the application, by the clock."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """RPCs can be exchanged with a peer from now on. A peer that is known begins anew, with the score it had.

    `outbound`: we opened the connection. `address`: where it counts for P6, usually an IP address; empty exempts it.
    `direct`: an explicit peering agreement (gossipsub-v1.1 "Explicit Peering Agreements").
    """

    peer: PeerId
    version: Version
    outbound: bool = False
    address: str = ""
    direct: bool = False


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """No RPC can be exchanged with the peer any more. Unknown ones are ignored."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class Received:
    """An RPC of a peer."""

    peer: PeerId
    rpc: Rpc


@dataclass(frozen=True, slots=True)
class Join:
    """The application wants the messages of a topic. Joining again changes nothing."""

    topic: str


@dataclass(frozen=True, slots=True)
class Leave:
    """The application wants no more of a topic. Leaving what was not joined changes nothing."""

    topic: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Send a message of our own, signed. One that was seen before goes nowhere."""

    message: SignedMessage


@dataclass(frozen=True, slots=True)
class Validated:
    """The answer to a `Validate`. One that comes too late is ignored."""

    ticket: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ApplicationScore:
    """P5 of a peer from now on: positive for trust, negative for misbehaviour that the router cannot see. It is kept
    for a peer that is not connected only if the peer has a score."""

    peer: PeerId
    score: float


@dataclass(frozen=True, slots=True)
class Tick:
    """The time is (at least) what `deadline` said. Sooner changes nothing."""


Input = PeerJoined | PeerLeft | Received | Join | Leave | Publish | Validated | ApplicationScore | Tick

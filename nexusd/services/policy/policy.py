"""One answer to "may it?", whichever rule gives it. Every refusal names its rule and the way out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from nexusd.services.policy.bans import BanTable
from nexusd.services.policy.lists import Rule, TrustLists
from nexusd.services.ports import WallClock
from nexusd_protocols.identity import PeerId
from nexusd_protocols.rpc.codes import Refusal

NO_REASON: Final = "no reason given"
"""What a person's block or ban is for who did not say why. It stands behind `blocked:` and `banned until …:`."""


class Policy:
    """The rules in force. `blocks` maps a blocked peer to why it is; whoever loads blocks and bans puts them here."""

    def __init__(self, lists: TrustLists, clock: WallClock) -> None:
        self.blocks: dict[PeerId, str] = {}
        self.bans = BanTable()
        self._lists = lists
        self._clock = clock

    def allows(self, peer: PeerId) -> bool:
        """Whether a peer may be here: what the host asks for each connection, stream and dial, and the rooms for each
        author."""
        return (
            peer not in self.blocks
            and self._lists.peers.refuses(peer) is None
            and self.bans.find(peer, self._clock()) is None
        )

    def refuses_peer(self, peer: PeerId) -> Refusal | None:
        """Why a peer is refused. A person's word comes first, then the deny list, a ban, the allow list."""
        if (reason := self.blocks.get(peer)) is not None:
            return Refusal("peer_blocked", f"{peer} is blocked: {reason}")
        rule = self._lists.peers.refuses(peer)
        ban = self.bans.find(peer, self._clock())
        if rule != "deny" and ban is not None:
            return Refusal("peer_banned", f"{peer} is banned until {_shown(ban.until)}: {ban.reason}")
        return _refusal("peer", peer, rule)

    def refuses_room(self, room: str) -> Refusal | None:
        """Why a room may not be joined, nor heard."""
        return _refusal("room", room, self._lists.rooms.refuses(room))

    def refuses_capability(self, name: str) -> Refusal | None:
        """Why others may not call a capability here."""
        return _refusal("capability", name, self._lists.capabilities.refuses(name))


def _refusal(kind: str, name: str, rule: Rule | None) -> Refusal | None:
    if rule is None:
        return None
    kinds = "capabilities" if kind == "capability" else f"{kind}s"
    why = f"is on deny_{kinds}" if rule == "deny" else f"is not on allow_{kinds}"
    return Refusal("not_allowed", f"The {kind} {name} {why}", {"rule": f"{rule}_{kinds}"})


def _shown(unix_ms: int) -> str:
    return f"{datetime.fromtimestamp(unix_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"

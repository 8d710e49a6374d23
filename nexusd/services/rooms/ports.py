"""What rooms ask of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nexusd.host.ports import UnreachableError
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import RoomId


class Content(Protocol):
    """Content by its address."""

    async def fetch_block(self, cid: Cid, peers: Sequence[PeerId]) -> bytes:
        """The block of that name, from here or from one of the peers, verified and stored before it returns. Raises
        HostError."""
        ...

    def referred(self, room: RoomId, sender: PeerId, references: Sequence[str]) -> None:
        """A message that was kept refers to these. Never waits."""
        ...


class Nothing:
    """No content but what is in messages."""

    async def fetch_block(self, cid: Cid, peers: Sequence[PeerId]) -> bytes:
        """Never there."""
        raise UnreachableError(f"{cid} is not here")

    def referred(self, room: RoomId, sender: PeerId, references: Sequence[str]) -> None:
        """Leave them alone."""

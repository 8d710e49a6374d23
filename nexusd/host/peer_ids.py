"""PeerIds in libp2p's form."""

from __future__ import annotations

from functools import lru_cache

from libp2p.peer.id import ID

from nexusd_protocols.identity import PeerId


@lru_cache(1024)
def libp2p_id(peer: PeerId) -> ID:
    """The same peer. Kept for the busiest: base58 takes longer than what most callers want of it."""
    return ID.from_string(peer)

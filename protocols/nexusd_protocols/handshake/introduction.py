"""What both ends of a handshake say of themselves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """Who speaks. `peer_id` is verified by the stream; the rest is that peer's word: untrusted."""

    peer_id: str
    agent_name: str = ""
    agent_type: str = ""
    roles: tuple[str, ...] = ()

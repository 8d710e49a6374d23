"""What services are handed by the composition root, and what they hand out live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nexusd.host.ports import DeadlineError, HostError, UnreachableError, UnsupportedError
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import EventKind

WallClock = Callable[[], int]
"""Unix milliseconds."""

Entropy = Callable[[int], bytes]
"""That many random bytes."""

Resolve = Callable[[str], PeerId | Refusal]
"""What a person typed for a peer, to the peer."""

NameOf = Callable[[str], str | None]
"""The name that a peer or agent last gave itself: untrusted."""


@dataclass(frozen=True, slots=True)
class Persona:
    """How an agent of this node shows itself to others."""

    name: str
    agent_type: str
    capabilities: tuple[str, ...]


PersonaOf = Callable[[AgentId], Persona]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEvent:
    """Something that is told as it happens and not stored. `data` is JSON-encodable; `room`, `peer` are for filters."""

    kind: EventKind
    type: str
    at: int
    data: Any
    room: str | None = None
    peer: str | None = None


Emit = Callable[[LiveEvent], None]


def refusal_of(error: HostError) -> Refusal:
    """The row of the error table for what the network did not do."""
    match error:
        case UnreachableError():
            return Refusal("unreachable", str(error))
        case UnsupportedError():
            return Refusal("unsupported", str(error))
        case DeadlineError():
            return Refusal("timeout", str(error))
        case _:
            return Refusal("connection_lost", str(error))

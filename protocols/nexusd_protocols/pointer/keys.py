"""The keys under which pointers are kept. The last part is always the issuer, so a key has one writer.
(specs/pointer.md §2)

    /nexus/agent/<issuer>                    profile-pointer
    /nexus/room/<room>/<issuer>              room-pointer
    /nexus/capability/<name>/<issuer>        capability-pointer
    /nexus/checkpoint/<room>/<issuer>        checkpoint-pointer
    /nexus/storage/<issuer>                  storage-offer
    /nexus/relay/<issuer>                    relay-offer

Who has written under a name that many may use is found by provider records of `meeting_place`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from nexusd_protocols.content.cid import RAW, Cid
from nexusd_protocols.identity import PeerId, parse_peer_id
from nexusd_protocols.ids import parse_capability_name, parse_room_id

PointerKind = Literal[
    "profile-pointer", "room-pointer", "capability-pointer", "checkpoint-pointer", "storage-offer", "relay-offer"
]
KINDS: Final[tuple[PointerKind, ...]] = get_args(PointerKind)

_MINUTE_MS: Final = 60_000
TTL_MS: Final[dict[PointerKind, int]] = {
    "profile-pointer": 24 * 60 * _MINUTE_MS,
    "room-pointer": 6 * 60 * _MINUTE_MS,
    "capability-pointer": 60 * _MINUTE_MS,
    "checkpoint-pointer": 30 * _MINUTE_MS,
    "storage-offer": 60 * _MINUTE_MS,
    "relay-offer": 15 * _MINUTE_MS,
}
"""How long a pointer of each kind holds, as the published network says; nobody may claim more."""

_FAMILIES: Final[dict[PointerKind, str]] = {
    "profile-pointer": "agent",
    "room-pointer": "room",
    "capability-pointer": "capability",
    "checkpoint-pointer": "checkpoint",
    "storage-offer": "storage",
    "relay-offer": "relay",
}
_KIND_OF: Final = {family: kind for kind, family in _FAMILIES.items()}
_NAME_OF: Final[dict[PointerKind, Callable[[str], str]]] = {
    "room-pointer": parse_room_id,
    "capability-pointer": parse_capability_name,
    "checkpoint-pointer": parse_room_id,
}
"""What a name must be, for the kinds that have one."""


def is_named(kind: PointerKind) -> bool:
    """Whether one issuer has several pointers of this kind, told apart by a name: of a room or a capability."""
    return kind in _NAME_OF


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Where one pointer is kept. Raises ValueError for a name that the kind cannot have."""

    kind: PointerKind
    issuer: PeerId
    name: str = ""

    def __post_init__(self) -> None:
        check = _NAME_OF.get(self.kind)
        if check is not None:
            check(self.name)
        elif self.name:
            raise ValueError(f"a {self.kind} has no name")

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read it. Raises ValueError, saying what is wrong with it."""
        parts = text.split("/")
        kind = _KIND_OF.get(parts[2]) if len(parts) > 3 and parts[:2] == ["", "nexus"] else None
        if kind is None:
            raise ValueError(f"a pointer's key begins with /nexus/ and one of {', '.join(_KIND_OF)}")
        if len(parts) != 4 + is_named(kind):
            shape = "<name>/<issuer>" if is_named(kind) else "<issuer>"
            raise ValueError(f"the key of a {kind} looks like /nexus/{_FAMILIES[kind]}/{shape}")
        return cls(kind, parse_peer_id(parts[-1]), parts[3] if is_named(kind) else "")

    def __str__(self) -> str:
        middle = f"/{self.name}" if self.name else ""
        return f"/nexus/{_FAMILIES[self.kind]}{middle}/{self.issuer}"


def meeting_place(kind: Literal["room-pointer", "capability-pointer"], name: str) -> Cid:
    """The CID that everybody provides who has a pointer of this kind and name. It names no content: its digest is that
    of the key without the issuer. Raises ValueError for a name that the kind cannot have."""
    _NAME_OF[kind](name)
    return Cid.of(RAW, f"/nexus/{_FAMILIES[kind]}/{name}".encode())

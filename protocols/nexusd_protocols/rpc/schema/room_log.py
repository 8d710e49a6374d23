"""What was said in rooms: pages of it, its versions, and the proof that it is all there."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from nexusd_protocols import limits
from nexusd_protocols.rpc.schema.shape import Acting, Format, Page, Result


class RoomMessage(Result, frozen=True, kw_only=True):
    """A chat message, in the words of its author's newest edit. `sender` is verified: it signed. Everything else is the
    sender's word: untrusted."""

    room: str
    message_id: str
    sender: str
    sender_name: str | None = None
    timestamp: int
    received_at: int
    content: str
    """Empty if `retracted`."""
    format: str
    reply_to: str | None = None
    thread_id: str | None = None
    references: list[str] = []
    edited_at: int | None = None
    """The newest edit's timestamp."""
    retracted: bool = False
    target: str | None = None
    """In events of types `edited` and `retracted`: the id of the message meant. `content` is the new text."""
    digest: str
    """SHA-256 of the signed message, hex: its name in the room's history."""
    position: int
    """Page through history by it. It is this daemon's own, and says nothing of the order."""


class RoomHistoryParams(Acting, frozen=True, kw_only=True):
    """In room order, which is the same at every member: by timestamp, and of equal ones by digest. `after` and `before`
    are positions of messages: `after` reads on from one, `before` reads what leads up to one, neither the newest.
    `since` and `until` bound the timestamps, the latter not included."""

    room: str
    after: int | None = None
    before: int | None = None
    since: int | None = None
    until: int | None = None
    author: str | None = None
    thread_id: str | None = None
    limit: Page = 50


class RoomSearchParams(Acting, frozen=True, kw_only=True):
    """Messages that hold every word of `query`; "words in quotes" hold together, and word* is a beginning. The newest
    page, or what leads up to the message at position `before`."""

    room: str
    query: Annotated[str, Meta(min_length=1, max_length=limits.SEARCH_CHARS)]
    before: int | None = None
    limit: Page = 50


class RoomHistory(Result, frozen=True, kw_only=True):
    """`more`: whether another page follows in the direction asked for. `first`/`last`: positions to continue from."""

    messages: list[RoomMessage]
    more: bool
    first: int | None = None
    last: int | None = None


class RoomMessageParams(Acting, frozen=True, kw_only=True):
    """One message of a room."""

    room: str
    message_id: str


class RoomEditParams(Acting, frozen=True, kw_only=True):
    """Only the author may. What was said before is kept, and the newest is shown."""

    room: str
    message_id: str
    content: str
    format: Format = "text/plain"
    anyway: bool = False
    """Send it though it holds what looks like key material, where the policy leaves that to the sender."""


class RoomVersion(Result, frozen=True, kw_only=True):
    """A signed message: what was said first, an edit of it, or that it was taken back. `message_id` is its own id."""

    kind: Literal["chat", "edit", "retract"]
    message_id: str
    sender: str
    sender_name: str | None = None
    timestamp: int
    received_at: int
    content: str
    format: str
    digest: str


class RoomVersions(Result, frozen=True, kw_only=True):
    """Everything that was signed about one message, in room order. Two authors may have used one id: look at
    `sender`."""

    versions: list[RoomVersion]


class RoomVerifyParams(Acting, frozen=True, kw_only=True):
    """`peers`: how many members are asked whether they hold the same."""

    room: str
    peers: Annotated[int, Meta(ge=0, le=16)] = 3


class RoomFault(Result, frozen=True, kw_only=True):
    """Something in the log that is not what it should be. `name` is the message's digest in hex, or the object's
    CID."""

    what: Literal["message", "batch", "day", "checkpoint"]
    name: str
    reason: str


class RoomAgreement(Result, frozen=True, kw_only=True):
    """What a member holds beside what is held here, from `since` (the younger horizon of the two) up to `until`.
    Whatever either lacked was exchanged before, and `received` of it came from the member. `equal`: the same
    fingerprint, and over the closed hours the same checkpoint."""

    peer: str
    peer_name: str | None = None
    outcome: Literal["equal", "differs", "no_answer"]
    detail: str = ""
    since: int = 0
    until: int = 0
    messages: int = 0
    fingerprint: str = ""
    head: str | None = None
    """The CID of the member's newest checkpoint."""
    received: int = 0


class RoomVerified(Result, frozen=True, kw_only=True):
    """Whether every message is signed by its author and every object is what its CID says, and whom that holds with.
    `sound` is false if there is a fault here; a member that differs is that member's affair until it is looked at, and
    shows in `agreed`. At most 100 faults are listed. `mended` messages were damaged on this disk, and are whole again:
    members gave them."""

    room: str
    sound: bool
    agreed: bool
    messages: int
    mended: int = 0
    batches: int
    days: int
    head: str | None
    fault_count: int
    faults: list[RoomFault]
    peers: list[RoomAgreement]
    duration_ms: int


class RoomSyncedPeer(Result, frozen=True, kw_only=True):
    """What one member and this daemon gave each other."""

    peer: str
    peer_name: str | None = None
    received: int = 0
    sent: int = 0
    error: str | None = None


class RoomSynced(Result, frozen=True, kw_only=True):
    """Everything received is on disk. `peers` is empty if no member is there."""

    peers: list[RoomSyncedPeer]
    messages: int

"""Direct messages."""

from __future__ import annotations

from typing import Literal

from nexusd_protocols.rpc.schema.shape import Acting, Format, Page, Result


class DmSendParams(Acting, frozen=True, kw_only=True):
    peer: str
    content: str
    format: Format = "text/plain"
    anyway: bool = False
    """Send it though it holds what looks like key material, where the policy leaves that to the sender."""


class DmSent(Result, frozen=True, kw_only=True):
    """`stored`: the receiver committed it and said so. `unconfirmed`: it was handed over, but a peer of this kind says
    nothing more."""

    message_id: str
    peer: str
    status: Literal["stored", "unconfirmed"]


class DirectMessage(Result, frozen=True, kw_only=True):
    """`content` is the sender's word: untrusted."""

    peer: str
    direction: Literal["in", "out"]
    message_id: str
    sender: str
    sender_name: str | None = None
    timestamp: int
    content: str
    format: str
    status: Literal["received", "sending", "stored", "unconfirmed", "failed"]
    position: int


class DmListParams(Acting, frozen=True, kw_only=True):
    """As `room.history`; `peer` limits it to one conversation."""

    peer: str | None = None
    after: int | None = None
    before: int | None = None
    limit: Page = 50


class DmList(Result, frozen=True, kw_only=True):
    messages: list[DirectMessage]
    more: bool
    first: int | None = None
    last: int | None = None

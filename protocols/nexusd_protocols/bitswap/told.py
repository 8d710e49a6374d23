"""What one peer was told that we want, by all sessions together, and which blocks it may therefore send."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.bitswap.events import SessionId
from nexusd_protocols.bitswap.message import Kind, Message, Want
from nexusd_protocols.content.cid import Cid

_COPIES: Final = 2
"""How often a block may come that is wanted no more: as the answer to the first word and to the second."""


@dataclass(slots=True)
class Entry:
    """A want that the peer knows of. `word`: whether it has the block, as far as it has said."""

    cid: Cid
    kind: Kind
    holders: set[SessionId] = field(default_factory=set)
    word: bool | None = None


class Told:
    """One peer's."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self._late: OrderedDict[bytes, int] = OrderedDict()
        self._news: dict[bytes, Want | Cid] = {}

    def ask(self, session: SessionId, cid: Cid, kind: Kind) -> Entry:
        """A session wants something of the peer."""
        entry = self.entries.get(cid.digest)
        if entry is None:
            entry = self.entries[cid.digest] = Entry(cid, kind)
            self._say(entry)
        elif kind < entry.kind:
            entry.kind = kind
            self._say(entry)
        entry.holders.add(session)
        return entry

    def release(self, session: SessionId, digest: bytes) -> None:
        """A session wants it no more; if none does, the peer is told."""
        entry = self.entries.get(digest)
        if entry is None:
            return
        entry.holders.discard(session)
        if not entry.holders:
            del self.entries[digest]
            self._remember(digest)
            self._news[digest] = entry.cid

    def expects(self, digest: bytes) -> bool:
        """Whether a block that the peer sends is one that it was asked for, now or shortly before."""
        return digest in self.entries or digest in self._late

    def delivered(self, digest: bytes) -> None:
        """The peer sent it, and has struck it off its list."""
        if self.entries.pop(digest, None) is not None:
            self._news.pop(digest, None)
            self._remember(digest)
        elif self._late[digest] > 1:
            self._late[digest] -= 1
        else:
            del self._late[digest]

    def news(self) -> Message | None:
        """What the peer does not know yet; None if it knows all."""
        if not self._news:
            return None
        news, self._news = self._news, {}
        return _message(news.values())

    def everything(self) -> Message | None:
        """All that is wanted, for a peer that may have missed something; None if that is nothing."""
        self._news.clear()
        if not self.entries:
            return None
        return replace(_message(Want(entry.cid, entry.kind) for entry in self.entries.values()), full=True)

    def _say(self, entry: Entry) -> None:
        # in the order in which it is wanted, not in which it was cancelled before
        self._news.pop(entry.cid.digest, None)
        self._news[entry.cid.digest] = Want(entry.cid, entry.kind)

    def _remember(self, digest: bytes) -> None:
        self._late[digest] = _COPIES
        self._late.move_to_end(digest)
        if len(self._late) > limits.BITSWAP_REMEMBERED:
            self._late.popitem(last=False)


def _message(news: Iterable[Want | Cid]) -> Message:
    news = list(news)
    return Message(
        tuple(item for item in news if isinstance(item, Want)), tuple(item for item in news if isinstance(item, Cid))
    )

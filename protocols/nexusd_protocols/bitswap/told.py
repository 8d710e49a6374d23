"""What one peer was told that we want, by all sessions together, and which blocks it may therefore send."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
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
    """One peer's.

    js-bitswap sends a block again within five seconds only if it was cancelled in between. So what the peer has heard
    of before is cancelled first, and wanted in a second message: the order within one is nobody's promise.
    """

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self._late: OrderedDict[bytes, int] = OrderedDict()
        self._cancels: dict[bytes, Cid] = {}
        self._wants: dict[bytes, Want] = {}
        self._second: dict[bytes, Want] = {}

    def ask(self, session: SessionId, cid: Cid, kind: Kind) -> Entry:
        """A session wants something of the peer."""
        entry = self.entries.get(cid.digest)
        if entry is None:
            entry = self.entries[cid.digest] = Entry(cid, kind)
            self._say(entry, again=cid.digest in self._late)
        elif kind < entry.kind:
            entry.kind = kind
            self._say(entry, again=cid.digest in self._second)
        entry.holders.add(session)
        return entry

    def repeat(self, digest: bytes) -> None:
        """The peer does not answer: ask once more."""
        if (entry := self.entries.get(digest)) is not None:
            self._say(entry, again=True)

    def release(self, session: SessionId, digest: bytes) -> None:
        """A session wants it no more; if none does, the peer is told."""
        entry = self.entries.get(digest)
        if entry is None:
            return
        entry.holders.discard(session)
        if not entry.holders:
            del self.entries[digest]
            self._unsay(digest)
            self._remember(digest)
            self._cancels[digest] = entry.cid

    def expects(self, digest: bytes) -> bool:
        """Whether a block that the peer sends is one that it was asked for, now or shortly before."""
        return digest in self.entries or digest in self._late

    def delivered(self, digest: bytes) -> None:
        """The peer sent it, and has struck it off its list."""
        if self.entries.pop(digest, None) is not None:
            self._unsay(digest)
            self._remember(digest)
        elif self._late[digest] > 1:
            self._late[digest] -= 1
        else:
            del self._late[digest]

    def news(self) -> list[Message]:
        """What the peer does not know yet, in one message after the other."""
        messages = [
            Message(tuple(self._wants.values()), tuple(self._cancels.values())),
            Message(tuple(self._second.values())),
        ]
        self._clear()
        return [message for message in messages if message.entries]

    def everything(self) -> Message | None:
        """All that is wanted, for a peer that may have missed something; None if that is nothing."""
        self._clear()
        if not self.entries:
            return None
        return Message(tuple(Want(entry.cid, entry.kind) for entry in self.entries.values()), full=True)

    def _say(self, entry: Entry, *, again: bool) -> None:
        digest = entry.cid.digest
        self._unsay(digest)
        if again:
            self._cancels[digest] = entry.cid
        (self._second if again else self._wants)[digest] = Want(entry.cid, entry.kind)

    def _unsay(self, digest: bytes) -> None:
        for said in (self._cancels, self._wants, self._second):
            said.pop(digest, None)

    def _clear(self) -> None:
        self._cancels, self._wants, self._second = {}, {}, {}

    def _remember(self, digest: bytes) -> None:
        self._late[digest] = _COPIES
        self._late.move_to_end(digest)
        if len(self._late) > limits.BITSWAP_REMEMBERED:
            self._late.popitem(last=False)

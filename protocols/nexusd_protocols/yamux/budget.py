"""Memory that peers may take, as a tree: the daemon's budget, in it one of each peer, in that one of each connection,
which is charged for its streams. So a peer has the same share by four connections as by one.

1. Unread bytes are *held*, and so are those of an unfinished message in a reader (`Stream.keep`). They are charged as
   they come; a peer may send what its windows allow, so a charge always succeeds, and says which budget is overdrawn.
2. What a receive window has grown beyond its first size is *promised*. Promises are made only from what is free (rule
   3) in every budget up the tree.
3. Free is the limit less what is held and promised. Bytes that arrive within a grown window count twice for as long as
   they are unread: growth stops early rather than late.
4. An overdrawn budget is settled by its heaviest leaf, which resets the stream that holds most.
"""

from __future__ import annotations

import weakref
from typing import Protocol

from nexusd_protocols import limits
from nexusd_protocols.yamux.events import Event


class Debtor(Protocol):
    """Who can give memory back: the session that a leaf belongs to."""

    def relieve(self, now: float) -> list[Event]:
        """Reset the stream that holds most."""
        ...


class Budget:
    """`held` and `promised` bytes, of `limit`. The root is the daemon's; `child` makes those within it."""

    def __init__(self, limit: int = limits.YAMUX_DAEMON_BYTES, parent: Budget | None = None) -> None:
        self._parent: Budget | None = None
        if limit < 0:
            raise ValueError("a budget has zero bytes or more")
        self.limit = limit
        self.held = 0
        self.promised = 0
        self.debtor: Debtor | None = None
        self._parent = parent
        # weak, so that a budget lives as long as its session or an unread stream of it, and needs no closing
        self._children: weakref.WeakSet[Budget] = weakref.WeakSet()
        if parent is not None:
            parent._children.add(self)

    def __del__(self) -> None:
        # whoever held it is gone, and the bytes with it
        if self._parent is not None:
            self._parent.release(self.held)
            self._parent.withdraw(self.promised)

    def child(self, limit: int = limits.YAMUX_PEER_BYTES) -> Budget:
        """A budget within this one: what it holds and promises counts here too."""
        return Budget(limit, self)

    @property
    def overdrawn(self) -> bool:
        """Whether more is held than the limit."""
        return self.held > self.limit

    def charge(self, count: int) -> Budget | None:
        """Bytes came in. Returns the budget that is overdrawn now, the narrowest if several are."""
        over = None
        node: Budget | None = self
        while node is not None:
            node.held += count
            if node.held > node.limit and over is None:
                over = node
            node = node._parent
        return over

    def release(self, count: int) -> None:
        """Bytes were read or dropped."""
        node: Budget | None = self
        while node is not None:
            node.held -= count
            node = node._parent

    def promise(self, count: int) -> bool:
        """Set bytes aside for a window. False, and nothing set aside, where they are not free."""
        node: Budget | None = self
        while node is not None:
            if node.held + node.promised + count > node.limit:
                return False
            node = node._parent
        self._add_promise(count)
        return True

    def withdraw(self, count: int) -> None:
        """Give promised bytes back."""
        self._add_promise(-count)

    def _add_promise(self, count: int) -> None:
        node: Budget | None = self
        while node is not None:
            node.promised += count
            node = node._parent

    def heaviest(self) -> Budget:
        """The leaf that holds most."""
        node = self
        while node._children:
            node = max(node._children, key=lambda child: child.held)
        return node

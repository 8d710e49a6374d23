"""Messages that are being checked. (specs/gossipsub.md §5)

Until a signature is checked, a message proves nothing, not even that its author has anything to do with it. So it does
not take the place of another message with the same key: a different one is checked beside it.
"""

from __future__ import annotations

from nexusd_protocols.gossipsub.params import Bounds
from nexusd_protocols.gossipsub.seen import MessageKey
from nexusd_protocols.identity import PeerId
from nexusd_protocols.pubsub.signed import SignedMessage


class Validation:
    """One message. `sender` sent it first, `copies` sent it meanwhile."""

    __slots__ = ("began", "copies", "key", "message", "sender", "ticket")

    def __init__(self, ticket: int, key: MessageKey, message: SignedMessage, sender: PeerId, began: float) -> None:
        self.ticket = ticket
        self.key = key
        self.message = message
        self.sender = sender
        self.began = began
        self.copies: list[PeerId] = []


class Validations:
    """Those under way, bounded in number, number of one sender, and bytes."""

    __slots__ = ("_bounds", "_by_key", "_by_ticket", "_bytes", "_last", "_of_peer")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._by_ticket: dict[int, Validation] = {}
        self._by_key: dict[MessageKey, list[Validation]] = {}
        self._of_peer: dict[PeerId, int] = {}
        self._bytes = 0
        self._last = 0

    def __len__(self) -> int:
        return len(self._by_ticket)

    def copy_of(self, key: MessageKey, message: SignedMessage) -> Validation | None:
        """The check of this very message, if it is under way."""
        for validation in self._by_key.get(key, ()):
            if validation.message == message:
                return validation
        return None

    def begin(self, key: MessageKey, message: SignedMessage, sender: PeerId, now: float) -> Validation | None:
        """Begin one; None if too many are under way."""
        bounds = self._bounds
        rivals = self._by_key.get(key, ())
        of_peer = self._of_peer.get(sender, 0)
        if (
            len(self._by_ticket) >= bounds.validations
            or of_peer >= bounds.validations_per_peer
            or len(rivals) >= bounds.rivals
            or self._bytes + len(message.data) > bounds.validation_bytes
        ):
            return None
        self._last += 1
        validation = Validation(self._last, key, message, sender, now)
        self._by_ticket[self._last] = validation
        self._by_key[key] = [*rivals, validation]
        self._of_peer[sender] = of_peer + 1
        self._bytes += len(message.data)
        return validation

    def end(self, ticket: int) -> Validation | None:
        """The check is over; None if it was before."""
        validation = self._by_ticket.pop(ticket, None)
        if validation is None:
            return None
        rivals = self._by_key[validation.key]
        if len(rivals) == 1:
            del self._by_key[validation.key]
        else:
            rivals.remove(validation)
        left = self._of_peer[validation.sender] - 1
        if left:
            self._of_peer[validation.sender] = left
        else:
            del self._of_peer[validation.sender]
        self._bytes -= len(validation.message.data)
        return validation

    def end_overdue(self, before: float) -> list[Validation]:
        """Those that began before this time, which are over with this."""
        overdue = []
        for validation in self._by_ticket.values():
            if validation.began >= before:
                break
            overdue.append(validation)
        for validation in overdue:
            self.end(validation.ticket)
        return overdue

"""How long a peer may take over what it says on a stream. Pure: times are seconds, monotonic.

A stream that it opened must begin soon, and say something whole within REQUEST_SECONDS. Of any message that it has
begun, then and later and whoever opened the stream, the rest must come at LEAST_RATE, SLACK_SECONDS allowed. Only time
that was waited counts: who is slow in reading blames nobody.
"""

from __future__ import annotations

import math
from typing import Final

from nexusd_protocols import limits

REQUEST_SECONDS: Final = 30.0
"""For the whole of what a peer asks on a stream that it opened: a request that comes a byte at a time ends here."""
SLACK_SECONDS: Final = 10.0
"""How long the rest of a message may stay away: a link that breaks is given up in about that time."""
LEAST_RATE: Final = limits.KIB
"""Bytes a second after that. A modem was faster; a message that comes slower was begun to hold a place."""

_MOMENT: Final = 1e-6  # more than a clock's rounding


class Patience:
    """With one stream. `first_byte` is what the peer has for its first byte, None where it is not the one to begin."""

    def __init__(self, now: float, *, first_byte: float | None) -> None:
        self._first_byte = math.inf if first_byte is None else first_byte
        self._request_by = math.inf if first_byte is None else now + REQUEST_SECONDS
        self._begun = 0
        self._slack = SLACK_SECONDS

    def left(self, now: float) -> float:
        """Seconds for which the next bytes may be waited for."""
        slack = self._slack if self._begun else math.inf
        return max(0.0, min(self._first_byte, self._request_by - now, slack))

    @property
    def spent(self) -> bool:
        """Whether the rest of a message has not come in time."""
        return self._begun > 0 and self._slack < _MOMENT

    def waited(self, seconds: float) -> None:
        """The wait is over, or given up."""
        if self._begun:
            self._slack -= seconds

    def heard(self) -> None:
        """Something came."""
        self._first_byte = math.inf

    def understood(self) -> None:
        """Something whole was said."""
        self._request_by = math.inf

    def begun(self, count: int) -> None:
        """Of a message whose end is still to come there are so many bytes; none: there is no such message."""
        more = (count - self._begun) / LEAST_RATE
        self._slack = min(SLACK_SECONDS, self._slack + more) if count else SLACK_SECONDS
        self._begun = count

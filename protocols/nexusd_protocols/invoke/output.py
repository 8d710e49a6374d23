"""The pieces of an input or output, as one value. (specs/invoke.md §4)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from nexusd_protocols import ndjson

if TYPE_CHECKING:  # the command line imports this module, and must not wait for the cryptography behind that one
    from nexusd_protocols.invoke.events import Output


class Pieces:
    """Puts pieces together: all text is joined; a single piece is itself; anything else is the list of the pieces."""

    def __init__(self) -> None:
        self._pieces: list[Any] = []
        self.bytes = 0

    def add(self, data: Any) -> None:
        """The next piece. UNSET, the mark of an end without data, adds nothing."""
        if data is not msgspec.UNSET:
            self._pieces.append(data)
            self.bytes += ndjson.json_size(data)

    def value(self) -> Any:
        """What the pieces make. Without any, the empty text."""
        if len(self._pieces) == 1:
            return self._pieces[0]
        if all(isinstance(piece, str) for piece in self._pieces):
            return "".join(self._pieces)
        return list(self._pieces)


class UnaryOutput:
    """The result of a unary call out of its events. What only reports progress is no part of it."""

    def __init__(self) -> None:
        self._pieces = Pieces()

    def add(self, output: Output) -> None:
        """The next event of the call."""
        if output.event != "progress":
            self._pieces.add(output.data)

    def value(self) -> Any:
        """What the call returned."""
        return self._pieces.value()

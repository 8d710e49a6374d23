"""What happens to key material in what leaves this node: one policy for messages, one for calls.

allow   it goes
ask     it is refused, unless whoever sends it says that it is meant
block   it is refused
redact  its place goes
"""

from __future__ import annotations

from typing import Any, Final, Literal

from nexusd_protocols import key_material
from nexusd_protocols.rpc.codes import Refusal

Policy = Literal["redact", "block", "ask", "allow"]

DEPTH: Final = 128
"""Of JSON that is looked through; nothing nests deeper that may be sent."""


class Screen:
    """Looks through text, and through the texts of JSON."""

    def __init__(self, policy: Policy = "allow") -> None:
        self._policy = policy

    def text(self, text: str, *, meant: bool = False) -> str | Refusal:
        """The text as it may go, or why it may not. `meant`: who sends it says so."""
        if self._policy == "allow" or (self._policy == "ask" and meant):
            return text
        if self._policy == "redact":
            return key_material.redact(text)
        found = key_material.find(text)
        if not found:
            return text
        kinds = ", ".join(dict.fromkeys(each.kind.replace("_", " ") for each in found))
        return Refusal("key_material", f"It holds what looks like key material: {kinds}", {"kinds": kinds})

    def data(self, data: Any, *, meant: bool = False) -> Any:
        """The same of JSON: what may go, or a Refusal. Names of fields are looked through with their values."""
        if self._policy == "allow":
            return data
        return self._look(data, meant, DEPTH)

    def _look(self, data: Any, meant: bool, depth: int) -> Any:
        if isinstance(data, str):
            return self.text(data, meant=meant)
        if depth == 0 or not isinstance(data, list | dict):
            return data
        if isinstance(data, list):
            items = [self._look(each, meant, depth - 1) for each in data]
            return next((each for each in items if isinstance(each, Refusal)), items)
        found: dict[str, Any] = {}
        for name, value in data.items():
            shown = self._look(value, meant, depth - 1)
            if isinstance(value, str) and not isinstance(shown, Refusal):
                shown = self._field(name, value, shown, meant=meant)
            if isinstance(shown, Refusal):
                return shown
            found[name] = shown
        return found

    def _field(self, name: str, value: str, shown: str, *, meant: bool) -> str | Refusal:
        """A value that is key material by the name of its field: {"password": "…"}."""
        line = f"{name}: {value}"
        screened = self.text(line, meant=meant)
        if isinstance(screened, Refusal):
            return screened
        return shown if screened == line else "[redacted]"

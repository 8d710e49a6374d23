"""What happens to key material in what leaves this node: one policy for messages, one for calls.

allow   it goes
ask     it is refused, unless whoever sends it says that it is meant
block   it is refused
redact  its place goes
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from nexusd_protocols import key_material, ndjson
from nexusd_protocols.key_material import Finding
from nexusd_protocols.rpc.codes import Refusal

Policy = Literal["redact", "block", "ask", "allow"]

DEPTH: Final = 128
"""Of JSON that is looked through; nothing nests deeper that may be sent."""

_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-f]{4}|.)")
_MEANS: Final = {"\\n": "\n", "\\t": "\t", "\\r": "\r", '\\"': '"', "\\\\": "\\"}


class Screen:
    """Looks through text, and through JSON."""

    def __init__(self, policy: Policy = "allow") -> None:
        self._policy = policy

    def text(self, text: str, *, meant: bool = False) -> str | Refusal:
        """The text as it may go, or why it may not. `meant`: who sends it says so."""
        if self._lets_pass(meant):
            return text
        if self._policy == "redact":
            return key_material.redact(text)
        found = key_material.find(text)
        return _refusal(found) if found else text

    def data(self, data: Any, *, meant: bool = False) -> Any:
        """The same of JSON: what may go, or a Refusal. It is looked through as a whole, so that a field's name tells
        what its value is, and words in a row are found in a list too; what cannot be taken out of it is refused."""
        if isinstance(data, str):
            return self.text(data, meant=meant)
        if self._lets_pass(meant) or not (found := key_material.find(_plain(data))):
            return data
        if self._policy == "redact":
            try:
                data = _redacted(data, DEPTH)
            except _SameNamesError:
                return _refusal(found, ", and without it two fields of one object would have the same name")
            found = key_material.find(_plain(data))
        return _refusal(found) if found else data

    def _lets_pass(self, meant: bool) -> bool:
        return self._policy == "allow" or (self._policy == "ask" and meant)


class _SameNamesError(Exception):
    """Of two fields one would be lost."""


def _refusal(found: list[Finding], more: str = "") -> Refusal:
    kinds = ", ".join(dict.fromkeys(each.kind.replace("_", " ") for each in found))
    return Refusal("key_material", f"It holds what looks like key material: {kinds}{more}", {"kinds": kinds})


def _plain(data: Any) -> str:
    """JSON as its text, and the texts in it as they are without escapes."""
    text = ndjson.encode(data).decode()
    return _ESCAPE.sub(_unescaped, text) if "\\" in text else text


def _unescaped(match: re.Match[str]) -> str:
    return _MEANS.get(match[0], " ")


def _redacted(data: Any, depth: int) -> Any:
    if isinstance(data, str):
        return key_material.redact(data)
    if depth == 0 or not isinstance(data, list | dict):
        return data
    if isinstance(data, list):
        return [_redacted(each, depth - 1) for each in data]
    shown = {
        key_material.redact(name): _field(name, value) if isinstance(value, str) else _redacted(value, depth - 1)
        for name, value in data.items()
    }
    if len(shown) < len(data):
        raise _SameNamesError
    return shown


def _field(name: str, value: str) -> str:
    """A value with its name before it: {"password": "…"} is key material, {"blockHash": "0x…"} is not."""
    front = f"{name}: "
    shown = key_material.redact(front + value)
    return shown.removeprefix(front) if shown.startswith(front) else "[redacted]"

"""Help lines, made from the schema of the socket so that they cannot differ from it."""

from __future__ import annotations

from nexusd_protocols.rpc.schema import METHODS


def of(method: str, example: str, more: str = "") -> str:
    """What a command does, in the words of the method behind it and `more` of its own, and an example."""
    return "\n\n".join(part for part in (f"{METHODS[method].summary}.", more, f"Example: {example}") if part)

"""Help lines, made from the schema of the socket so that they cannot differ from it."""

from __future__ import annotations

from nexusd_protocols.rpc.schema import METHODS


def of(method: str, example: str) -> str:
    """What a command does, in the words of the method behind it, and an example."""
    return f"{METHODS[method].summary}.\n\nExample: {example}"

"""Text given as arguments, or on standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nexusd.cli.options import STDIN
from nexusd.cli.session import current
from nexusd.cli.usage import UsageError


def text(arguments: Sequence[str], *, limit: int) -> str:
    """The arguments as one text; standard input if there are none and it is not a terminal, or for a single `-`.
    Raises UsageError for no text, for more than `limit` bytes, and for bytes that are not UTF-8."""
    if not arguments and current().stdin.isatty():
        raise UsageError("there is no text", "give it as an argument, or pipe it in")
    typed = arguments and tuple(arguments) != (STDIN,)
    found = " ".join(arguments).replace(STDIN, "-") if typed else read(limit).removesuffix("\n")
    if not found:
        raise UsageError("the text is empty", "give it as an argument, or pipe it in")
    return found


def read(limit: int) -> str:
    """All of standard input. Raises UsageError."""
    return decode(binary(limit + 1), limit, "standard input")


def decode(raw: bytes, limit: int, source: str) -> str:
    """Text from bytes of which one more than `limit` was asked for. Raises UsageError."""
    if len(raw) > limit:
        raise UsageError(f"{source} has more than {limit} bytes", "send less, or in parts")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{source} is not UTF-8 (byte {error.start})", "encode it, in base64 for example") from None


def binary(count: int) -> bytes:
    """At most `count` bytes of standard input."""
    stream = current().stdin
    raw = getattr(stream, "buffer", None)
    return raw.read(count) if raw is not None else stream.read(count).encode()


def piped() -> bool:
    """Whether something else than a person is at standard input."""
    return not (current().stdin or sys.stdin).isatty()

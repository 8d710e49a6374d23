"""Text given as arguments, on standard input, or in a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

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


def read(limit: int, *, wanted: str = "") -> str:
    """All of standard input. Raises UsageError; `wanted` as with `decode`."""
    return decode(binary(limit + 1), limit, "standard input", wanted=wanted)


def read_file(path: str | Path, limit: int, *, wanted: str) -> str:
    """All of a file that is to hold one thing, or of standard input where its name is `-`. Raises UsageError."""
    if path == STDIN:
        return read(limit, wanted=wanted)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", f"give {wanted}") from None
    return decode(raw, limit, str(path), wanted=wanted)


def decode(raw: bytes, limit: int, source: str, *, wanted: str = "") -> str:
    """Text from bytes of which one more than `limit` was asked for. Raises UsageError, which says what is `wanted`
    where only one thing is: no other way of sending helps then."""
    if len(raw) > limit:
        raise UsageError(
            f"{source} has more than {limit} bytes", f"give {wanted}" if wanted else "send less, or in parts"
        )
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        advice = f"give {wanted}" if wanted else "encode it, in base64 for example"
        raise UsageError(f"{source} is not UTF-8 (byte {error.start})", advice) from None


def binary(count: int) -> bytes:
    """At most `count` bytes of standard input."""
    stream = current().stdin
    raw = getattr(stream, "buffer", None)
    return raw.read(count) if raw is not None else stream.read(count).encode()


def piped() -> bool:
    """Whether something else than a person is at standard input."""
    return not (current().stdin or sys.stdin).isatty()

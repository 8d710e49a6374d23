"""Names in a directory."""

from __future__ import annotations

from nexusd_protocols import limits


def check_name(name: str) -> None:
    """Raises ValueError for what is no name of one file in a directory, on this host or another."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"the name {name!r} is not UTF-8") from error
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is no name of a file in a directory")
    if length > limits.FILE_NAME_BYTES:
        raise ValueError(f"a name has at most {limits.FILE_NAME_BYTES} bytes: {name[:40]!r}…")

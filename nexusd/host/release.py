"""The one release of py-libp2p that the workarounds of this package were tested against."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

SUPPORTED: Final = "0.8.1"


def check_release() -> None:
    """Raise RuntimeError if another py-libp2p is installed: the workarounds touch names that are private to it."""
    found = version("libp2p")
    if found != SUPPORTED:
        raise RuntimeError(
            f"nexusd needs py-libp2p {SUPPORTED}, and {found} is installed. Its faults are worked round release by"
            " release: reinstall nexusd with its pinned dependencies"
        )

"""The SDK: talk to the daemon of this host from Python.

    from nexusd.client import Nexus

    with Nexus.connect() as nexus:
        nexus.rooms.join("general")
        nexus.rooms.send("general", "hello")
        print(nexus.invoke("12D3KooW…", "upper", "make me loud"))

`Nexus` is synchronous and imports no async library; `AsyncNexus` runs under Trio and asyncio. Both are loaded on first
use, so that importing this costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexusd.client.aio import AsyncNexus
    from nexusd.client.errors import CallError, NexusError
    from nexusd.client.sync import Nexus

__all__ = ["AsyncNexus", "CallError", "Nexus", "NexusError"]

_HOMES = {
    "AsyncNexus": "nexusd.client.aio",
    "CallError": "nexusd.client.errors",
    "Nexus": "nexusd.client.sync",
    "NexusError": "nexusd.client.errors",
}


def __getattr__(name: str) -> Any:
    if (home := _HOMES.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)

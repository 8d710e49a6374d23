"""What importing the SDK costs: no event loop, no network library, nothing of the daemon."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"trio", "anyio", "asyncio", "libp2p", "apsw", "zeroconf", "httpx", "nacl", "structlog", "nexusd.services"}


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import nexusd.client", set()),
        ("from nexusd.client import Nexus, NexusError, CallError", set()),
        ("import nexusd.client.serving", set()),
        ("from nexusd.client import AsyncNexus", {"anyio"}),
    ],
)
def test_imports_are_light(statement: str, allowed: set[str]) -> None:
    found = HEAVY & modules_after(statement)
    assert found - allowed - ({"asyncio"} if allowed else set()) == set()


def test_a_name_that_is_not_there() -> None:
    import nexusd.client

    with pytest.raises(AttributeError, match="Nope"):
        _ = nexusd.client.Nope

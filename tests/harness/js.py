"""js-libp2p peers (tests/interop/peer.mjs)."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.harness.foreign import ForeignPeer

INTEROP = Path(__file__).resolve().parents[1] / "interop"
NODE = INTEROP / "node_modules" / ".bin" / "node"
STAMP = INTEROP / "node_modules" / ".complete"


class JsUnavailableError(Exception):
    """The JavaScript side cannot be set up here. The message says why."""


def install() -> None:
    """Bring in node_modules once, whoever comes first. Raises JsUnavailableError."""
    wanted = (INTEROP / "package-lock.json").read_text()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise JsUnavailableError("npm is not installed")
    with (INTEROP / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if STAMP.exists() and STAMP.read_text() == wanted:
            return
        done = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund"], cwd=INTEROP, capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            raise JsUnavailableError(f"npm ci failed: {done.stderr[-2000:]}")
        STAMP.write_text(wanted)


def require() -> None:
    """Skip the test where there is no JavaScript; fail where NEXUS_TEST_REQUIRE=all says that there must be."""
    try:
        install()
    except JsUnavailableError as error:
        if os.environ.get("NEXUS_TEST_REQUIRE") == "all":
            pytest.fail(f"NEXUS_TEST_REQUIRE=all, but {error}")
        pytest.skip(str(error))


class JsPeer(ForeignPeer):
    """`options` are those of createNode (peer/node.mjs)."""

    def __init__(self, name: str, directory: Path, script: Path = INTEROP / "peer.mjs", **options: Any) -> None:
        argv = [str(NODE), str(script), json.dumps(options)]
        super().__init__(name, argv, log=directory / f"{name}.log", cwd=script.parent)

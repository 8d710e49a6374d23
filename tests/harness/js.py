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
HELIA = INTEROP / "helia"
"""What needs Helia has packages of its own: a hundred megabytes that most tests can do without."""


class JsUnavailableError(Exception):
    """The JavaScript side cannot be set up here. The message says why."""


def install(folder: Path = INTEROP) -> None:
    """Bring in its node_modules once, whoever comes first. Raises JsUnavailableError."""
    stamp = folder / "node_modules" / ".complete"
    wanted = (folder / "package-lock.json").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise JsUnavailableError("npm is not installed")
    with (folder / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        done = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            raise JsUnavailableError(f"npm ci failed: {done.stderr[-2000:]}")
        stamp.write_text(wanted)


def require(*folders: Path) -> None:
    """Skip the test where there is no JavaScript; fail where NEXUS_TEST_REQUIRE=all says that there must be."""
    try:
        for folder in (INTEROP, *folders):
            install(folder)
    except JsUnavailableError as error:
        if os.environ.get("NEXUS_TEST_REQUIRE") == "all":
            pytest.fail(f"NEXUS_TEST_REQUIRE=all, but {error}")
        pytest.skip(str(error))


class JsPeer(ForeignPeer):
    """`options` are those of createNode (peer/node.mjs)."""

    def __init__(self, name: str, directory: Path, script: Path = INTEROP / "peer.mjs", **options: Any) -> None:
        argv = [str(NODE), str(script), json.dumps(options)]
        super().__init__(name, argv, log=directory / f"{name}.log", cwd=script.parent)


class HeliaPeer(ForeignPeer):
    """A Helia node (helia/peer.mjs)."""

    def __init__(self, name: str, directory: Path) -> None:
        super().__init__(name, [str(NODE), str(HELIA / "peer.mjs")], log=directory / f"{name}.log", cwd=HELIA)

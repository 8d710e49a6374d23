"""go-libp2p peers (tests/interop/go), built once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.harness.foreign import ForeignPeer

SOURCE = Path(__file__).resolve().parents[1] / "interop" / "go"
BUILD = SOURCE / "build"
BUILD_S = 600
"""The first build compiles two hundred packages, on two cores that others use too."""


class GoUnavailableError(Exception):
    """The Go side cannot be built here. The message says why."""


def build(name: str = "peer") -> Path:
    """A program, built by whoever comes first and again whenever its source changes: `peer` is in the folder itself,
    another in a folder of its name, with its own dependencies if need be. Raises GoUnavailableError."""
    place = SOURCE if name == "peer" else SOURCE / name
    module = place if (place / "go.mod").exists() else SOURCE
    sources = sorted([*place.glob("*.go"), module / "go.mod", module / "go.sum"])
    digest = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in sources)).hexdigest()
    program = BUILD / f"{name}-{digest[:16]}"
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        raise GoUnavailableError("Go is not installed")
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "lock").open("w") as lock:  # not go.mod, which the go command locks
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _build(go, place, program)
    return program


def _build(go: str, place: Path, program: Path) -> None:
    part = program.with_suffix(".part")
    done = subprocess.run(
        [go, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", str(part), "."],
        cwd=place,
        env=os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        timeout=BUILD_S,
    )
    if done.returncode:
        raise GoUnavailableError(f"go build failed: {done.stderr[-2000:]}")
    for old in BUILD.glob(f"{program.name.partition('-')[0]}-????????????????"):
        old.unlink()
    part.rename(program)


def require(name: str = "peer") -> None:
    """Skip the test where there is no Go; fail where NEXUS_TEST_REQUIRE=all says that there must be."""
    try:
        build(name)
    except GoUnavailableError as error:
        if os.environ.get("NEXUS_TEST_REQUIRE") == "all":
            pytest.fail(f"NEXUS_TEST_REQUIRE=all, but {error}")
        pytest.skip(str(error))


class GoPeer(ForeignPeer):
    """`options` are those of newNode (interop/go/node.go)."""

    def __init__(self, name: str, directory: Path, **options: Any) -> None:
        super().__init__(name, [str(build()), json.dumps(options)], log=directory / f"{name}.log", cwd=directory)


class BoxoPeer(ForeignPeer):
    """A node with Kubo's bitswap (interop/go/bitswap)."""

    def __init__(self, name: str, directory: Path) -> None:
        super().__init__(name, [str(build("bitswap"))], log=directory / f"{name}.log", cwd=directory)

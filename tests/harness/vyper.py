"""The compiler of the test token, in an environment of its own: it wants an older cbor2 than nexusd does."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).resolve().parents[1] / "fixtures" / "token"
LOCK: Final = FOLDER / "vyper.lock"
PLACE: Final = FOLDER / ".vyper"
PATIENCE_S: Final = 300


class VyperUnavailableError(Exception):
    """It cannot be set up here. The message says why."""


def install() -> None:
    """Make the environment once, whoever comes first, of exactly what the lock file names. Raises
    VyperUnavailableError."""
    stamp, wanted = PLACE / ".complete", LOCK.read_text()
    with LOCK.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        _run([sys.executable, "-m", "venv", "--clear", str(PLACE)])
        pip = [str(PLACE / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(LOCK)])
        stamp.write_text(wanted)


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode:
        raise VyperUnavailableError(f"vyper cannot be installed: {done.stderr[-1000:]}")


def require() -> None:
    """Skip the test where it is not; fail where NEXUS_TEST_REQUIRE=all says that it must be."""
    try:
        install()
    except VyperUnavailableError as error:
        if os.environ.get("NEXUS_TEST_REQUIRE") == "all":
            pytest.fail(f"NEXUS_TEST_REQUIRE=all, but {error}")
        pytest.skip(str(error))


def runtime(source: Path) -> str:
    """The code that a contract has on a chain, in hexadecimal."""
    argv = [str(PLACE / "bin" / "vyper"), "-f", "bytecode_runtime", str(source)]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

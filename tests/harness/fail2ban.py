"""fail2ban's own reader of filters: the one that is installed here, or Debian's package, unpacked and not installed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
import trio

PACKAGE: Final = "fail2ban=1.0.2-2"
SHA256: Final = "9717b7aeef7b00f0df4c76045cd6dab2755cbe9fc99dbfe3cd114126880ec7f7"
"""Of bookworm's package, which is the same on all machines. Others have no such version: install theirs."""
PLACE: Final = Path(__file__).resolve().parents[1] / "interop" / ".fail2ban"
APT_SECONDS: Final = 120


class Fail2banUnavailableError(Exception):
    """There is none, and it cannot be fetched here. The message says why."""


def command() -> tuple[list[str], dict[str, str]]:
    """`fail2ban-regex`, to be followed by its arguments, and what it needs in the environment. Raises
    Fail2banUnavailableError."""
    if installed := shutil.which("fail2ban-regex"):
        return [installed], {}
    PLACE.mkdir(exist_ok=True)
    root = PLACE / SHA256[:16]
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            _unpack(root)
    # the interpreter that the package is made for, where it is
    python = shutil.which("python3", path="/usr/bin") or sys.executable
    return [python, str(root / "usr/bin/fail2ban-regex")], {"PYTHONPATH": str(root / "usr/lib/python3/dist-packages")}


def _unpack(root: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise Fail2banUnavailableError("fail2ban is not installed, and this is no Debian that has a package of it")
    with tempfile.TemporaryDirectory(dir=PLACE) as folder:
        try:
            _run(["apt-get", "download", PACKAGE], folder)
        except Fail2banUnavailableError:  # a fresh machine knows of no packages
            _run(["apt-get", "update"], folder)
            _run(["apt-get", "download", PACKAGE], folder)
        (package,) = Path(folder).glob("*.deb")
        if (found := hashlib.sha256(package.read_bytes()).hexdigest()) != SHA256:
            raise Fail2banUnavailableError(f"{package.name} is another than the one that is meant: SHA-256 {found}")
        _run(["dpkg-deb", "-x", str(package), "unpacked"], folder)
        (Path(folder) / "unpacked").rename(root)


def _run(argv: Sequence[str], folder: str) -> None:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=APT_SECONDS)
    if done.returncode:
        raise Fail2banUnavailableError(f"{' '.join(argv)} failed: {done.stderr[-2000:]}")


def require() -> None:
    """Skip the test where fail2ban cannot be had; fail where NEXUS_TEST_REQUIRE=all says that it must be."""
    try:
        command()
    except Fail2banUnavailableError as error:
        if os.environ.get("NEXUS_TEST_REQUIRE") == "all":
            pytest.fail(f"NEXUS_TEST_REQUIRE=all, but {error}")
        pytest.skip(str(error))


async def addresses(configuration: Path, log: Path, filter_name: str) -> list[str]:
    """Whom fail2ban finds in a log: addresses in their order."""
    argv, environment = command()
    ran = await trio.run_process(
        [*argv, "-c", str(configuration), "-o", "ip", str(log), filter_name],
        env=os.environ | environment,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout.decode().split()

"""A daemon on a disk of a megabyte or a few."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from nexusd.client import Nexus
from tests.harness.daemon import BIN, Home
from tests.harness.process import LineProcess, poll

PLACE = "mount -t tmpfs -o size={3},mode=0700 none {0} && [ ! -e {1} ] || cp -a {1}/. {0}/; exec {2} run --name full \
--loopback --no-mdns --log-format json"


class SmallDisk:
    """A daemon whose data directory is a small file system, in a mount namespace of its own."""

    def __init__(self, home: Home, size: str = "1m") -> None:
        self.home = home
        self.size = size
        self.data_dir = home.data_dir("full")
        self.data_dir.mkdir(parents=True, mode=0o700)
        self.saved = home.directory / "saved"
        self.log = home.directory / "full.log"
        self.process: LineProcess | None = None

    def start(self) -> None:
        command = PLACE.format(self.data_dir, self.saved, BIN / "nexusd", self.size)
        argv = ["unshare", "-Urm", "sh", "-c", command]
        self.process = LineProcess(argv, log=self.log, env=self.home.env, cwd=self.home.directory)

    @property
    def inside(self) -> Path:
        """The data directory as the daemon sees it."""
        assert self.process is not None
        return Path(f"/proc/{self.process.popen.pid}/root{self.data_dir}")

    def client(self) -> Nexus:
        """A connection, once the socket answers."""
        assert self.process is not None
        popen = self.process.popen
        path = self.inside / "nexusd.sock"
        poll(lambda: popen.poll() is not None or path.exists(), "the socket")
        assert popen.poll() is None, self.log.read_text()
        return Nexus(path, timeout=20)

    def free(self) -> int:
        found = os.statvfs(self.inside)
        return found.f_bavail * found.f_frsize

    def end(self) -> None:
        """kill -9, with the disk as it is kept for the next start."""
        assert self.process is not None
        if self.process.popen.poll() is None:
            self.process.popen.send_signal(signal.SIGSTOP)  # nothing changes while it is copied
            shutil.rmtree(self.saved, ignore_errors=True)
            self.saved.mkdir(mode=0o700)
            for file in self.inside.iterdir():
                if file.is_file() and file.name != "lock" and not file.name.endswith("-shm"):
                    shutil.copy2(file, self.saved)
            self.process.kill9()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process is not None:
            self.process.kill9()


@contextmanager
def small_disk(home: Home, size: str) -> Iterator[SmallDisk]:
    """One that was started. Skips the test where there are no user namespaces."""
    trial = subprocess.run(
        ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    if trial.returncode != 0 and os.environ.get("NEXUS_TEST_REQUIRE") != "all":
        pytest.skip("no user namespaces here")
    with SmallDisk(home, size) as disk:
        disk.start()
        yield disk

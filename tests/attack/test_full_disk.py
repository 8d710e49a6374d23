"""A disk of one megabyte: what was acknowledged is there, what cannot be stored is refused by name, and it goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from nexusd.client import Nexus, NexusError
from tests.harness.daemon import BIN, Daemon, Home
from tests.harness.mallory import mallory
from tests.harness.process import LineProcess, poll

PLACE = "mount -t tmpfs -o size=1m,mode=0700 none {0} && [ ! -e {1} ] || cp -a {1}/. {0}/; exec {2} run --name full \
--loopback --no-mdns --log-format json"


class SmallDisk:
    """A daemon whose data directory is a file system of 1 MiB, in a mount namespace of its own."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.data_dir = home.data_dir("full")
        self.data_dir.mkdir(parents=True, mode=0o700)
        self.saved = home.directory / "saved"
        self.log = home.directory / "full.log"
        self.process: LineProcess | None = None

    def start(self) -> None:
        command = PLACE.format(self.data_dir, self.saved, BIN / "nexusd")
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
                if file.is_file() and file.name not in ("lock", "nexusd.sqlite-shm"):
                    shutil.copy2(file, self.saved)
            self.process.kill9()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process is not None:
            self.process.kill9()


@pytest.fixture
def small(own_home: Home) -> Iterator[SmallDisk]:
    trial = subprocess.run(
        ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    if trial.returncode != 0 and os.environ.get("NEXUS_TEST_REQUIRE") != "all":
        pytest.skip("no user namespaces here")
    with SmallDisk(own_home) as disk:
        disk.start()
        yield disk


def ids(nexus: Nexus) -> list[str]:
    found: list[str] = []
    after = 0
    while True:
        page = nexus.call("dm.list", {"after": after, "limit": 500})
        found += [row.message_id for row in page.messages if row.direction == "in"]
        if not page.more:
            return found
        after = page.last


def code_of(nexus: Nexus, method: str, **params: Any) -> str:
    """The code of the refusal, or '' where it worked."""
    try:
        nexus.call(method, params)
    except NexusError as error:
        return error.code
    return ""


async def test_a_full_disk(alice: Daemon, small: SmallDisk) -> None:
    nexus = small.client()
    status = nexus.call("node.status")
    address = next(a for a in status.addresses if "/ws" not in a)
    alice.rpc("peers.connect", address=address)
    acknowledged: list[str] = []
    refused: list[NexusError] = []
    for size in (20_000, 2_000, 200):
        for _ in range(500):
            try:
                sent = alice.rpc("dm.send", peer=status.peer_id, content="x" * size)
            except NexusError as error:
                refused.append(error)
                break
            assert sent["status"] == "stored"
            acknowledged.append(sent["messageId"])
    assert len(refused) == 3
    assert all("could not be stored" in error.message for error in refused), refused
    assert small.free() == 0

    # its own user is told what is wrong
    codes = {
        "room.join": code_of(nexus, "room.join", room="r"),
        "dm.send": code_of(nexus, "dm.send", peer=alice.peer_id, content="y" * 60_000),
        "peers.block": code_of(nexus, "peers.block", peer=alice.peer_id, reason="z" * 5_000),
        "capability.serve": code_of(
            nexus, "capability.serve", name="c", description="d" * 500, command={"argv": ["cat"] * 250, "cwd": "/"}
        ),
    }
    assert set(codes.values()) <= {"storage_full", ""}, codes
    assert "storage_full" in codes.values()

    # strangers come and go, and nothing of what was said is lost
    for number in range(3):
        async with mallory(name=f"visitor {number}") as m:
            await m.dial_at(address, status.peer_id)
    assert set(ids(nexus)) == set(acknowledged)
    assert nexus.call("node.status").peer_id == status.peer_id
    nexus.close()

    # kill -9, and a start on the full disk: it comes up with all of it, or says in a sentence why not
    small.end()
    small.start()
    assert small.process is not None
    popen = small.process.popen
    poll(lambda: popen.poll() is not None or (small.inside / "nexusd.sock").exists(), "a start or a reason")
    if popen.poll() is None:
        with small.client() as again:
            assert set(ids(again)) == set(acknowledged)
    else:
        last = small.log.read_text().splitlines()[-1]
        assert "Traceback" not in small.log.read_text().split("disk is full")[-1]
        assert "disk is full" in last, last

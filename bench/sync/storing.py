"""Content put and got on one host: a daemon's service, a program at the daemon's socket, Helia with a store of files,
and, to compare with, nothing but SHA-256 and a file.

Ours and the bare file are synced to the disk before a put is done; Helia's files are not. Ours hashes every block again
as it is read, so does the bare file; Helia does not. All reading is from the system's cache.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.content.ours import content
from bench.program import Program
from nexusd.agents import Agents
from nexusd.client import Nexus
from nexusd.client.content import put_file, put_stream, read, save
from nexusd.services.content import Budgets, Content
from nexusd.store import Store
from nexusd_protocols import limits
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness import js
from tests.harness.daemon import Daemon, Home
from tests.harness.nodes import signer
from tests.harness.swarm import FakeNames, Swarm

MB = 1_000_000

Rates = dict[str, float]
"""`put` and `get` in megabytes a second, `put-cpu` and `get-cpu` in milliseconds of processor time for a megabyte."""


class Watch:
    """Wall clock and processor time of this process, and of another if there is one."""

    def __init__(self, size: int, pid: int | None = None) -> None:
        self._size = size / MB
        self._other = psutil.Process(pid) if pid is not None else None
        self._found: Rates = {}
        self._at = self._now()

    def _now(self) -> tuple[float, float]:
        used = time.process_time()
        if self._other is not None:
            times = self._other.cpu_times()
            used += times.user + times.system
        return time.perf_counter(), used

    def lap(self, name: str) -> Rates:
        """End a part, and begin the next. Returns what was found so far."""
        now = self._now()
        self._found[name] = self._size / (now[0] - self._at[0])
        self._found[f"{name}-cpu"] = (now[1] - self._at[1]) * 1000 / self._size
        self._at = self._now()
        return self._found


def _pieces(data: bytes) -> Iterator[bytes]:
    return (data[at : at + limits.CONTENT_PIECE_BYTES] for at in range(0, len(data), limits.CONTENT_PIECE_BYTES))


def bare(directory: Path, data: bytes) -> Rates:
    """SHA-256 and a file."""
    path = directory / "bare"
    watch = Watch(len(data))
    digest = hashlib.sha256()
    with path.open("wb", buffering=0) as file:
        for piece in _pieces(data):
            digest.update(piece)
            file.write(piece)
        os.fsync(file.fileno())
    watch.lap("put")
    again = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(limits.CONTENT_PIECE_BYTES):
            again.update(piece)
    found = watch.lap("get")
    assert again.digest() == digest.digest()
    path.unlink()
    return found


async def service(directory: Path, data: bytes) -> Rates:
    """The daemon's content service, called as its doors call it."""
    swarm, own = Swarm(), signer("alice").peer_id
    async with Store.open(directory / f"content-{secrets.token_hex(4)}.sqlite") as store:
        content_ = Content(
            agents=Agents(signer("alice")),
            store=store,
            exchange=swarm.exchange(own),
            names=FakeNames(swarm, own),
            emit=lambda _event: None,
            clock=lambda: int(time.time() * 1000),
            entropy=secrets.token_bytes,
            resolve=lambda _typed: Refusal("unknown_peer"),
            budgets=Budgets(500 * MB, 100 * MB),
            autopin=False,
            directory=directory,
        )
        await content_.load()
        watch = Watch(len(data))
        upload = await content_.begin(schema.ContentBeginParams())
        assert isinstance(upload, schema.ContentUpload)
        at = 0
        for piece in _pieces(data):
            await content_.write(schema.ContentWriteParams(upload=upload.upload, offset=at, data=piece))
            at += len(piece)
        put = await content_.finish(schema.ContentUploadParams(upload=upload.upload))
        watch.lap("put")
        assert isinstance(put, schema.ContentPut)
        assert put.size == len(data)
        at = 0
        while at < len(data):
            found = await content_.read(schema.ContentReadParams(cid=put.cid, offset=at))
            assert isinstance(found, schema.ContentRead)
            assert data.startswith(found.data, at)
            at += len(found.data)
        return watch.lap("get")


def socket(data: bytes) -> Rates:
    """A program at the daemon's socket, which hands over its open files: to be read, and to be written and synced."""
    with _served(data) as (nexus, path, pid):
        watch = Watch(len(data), pid)
        put = put_file(nexus, path)
        watch.lap("put")
        size = save(nexus, put.cid, path.with_name("copy"))
        found = watch.lap("get")
        assert size == len(data)
    return found


def pieces(data: bytes) -> Rates:
    """The same, which sends and receives the bytes in base64."""
    with _served(data) as (nexus, path, pid), path.open("rb") as file:
        watch = Watch(len(data), pid)
        put = put_stream(nexus, file)
        watch.lap("put")
        size = sum(map(len, read(nexus, put.cid)))
        found = watch.lap("get")
        assert size == len(data)
    return found


@contextmanager
def _served(data: bytes) -> Iterator[tuple[Nexus, Path, int]]:
    """A client of a daemon, the file, and the daemon's process."""
    home = Home()
    try:
        path = home.directory / "file"
        path.write_bytes(data)
        with (
            Daemon("a", home, "--log-level", "warning") as daemon,
            Nexus.connect(data_dir=daemon.data_dir, timeout=60) as nexus,
        ):
            yield nexus, path, daemon.pid
    finally:
        home.remove()


def helia(directory: Path, megabytes: int) -> Rates:
    """Helia, in Kubo's layout as ours."""
    place = directory / f"helia-{secrets.token_hex(4)}"
    program = Program([str(js.NODE), str(js.HELIA / "peer.mjs"), str(place)], None)
    try:
        put = program.ask("addFile", seed="file", size=megabytes * MB, usual=True)["result"]
        got = program.ask("readFile", cid=put["cid"])["result"]
    finally:
        program.close()
    assert got["size"] == megabytes * MB
    return {
        "put": megabytes / put["seconds"],
        "put-cpu": put["cpuSeconds"] * 1000 / megabytes,
        "get": megabytes / got["seconds"],
        "get-cpu": got["cpuSeconds"] * 1000 / megabytes,
    }


def made(megabytes: int) -> bytes:
    """What all of them put."""
    return content("file", megabytes * MB)

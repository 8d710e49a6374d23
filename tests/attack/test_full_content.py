"""Content on a disk of sixteen megabytes: refused by name where there is no room, and nothing acknowledged is lost."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexusd.client import Nexus, NexusError, content
from tests.harness.daemon import Daemon, Home
from tests.harness.smalldisk import SmallDisk, small_disk

MIB = 1 << 20


@pytest.fixture
def small(own_home: Home) -> Iterator[SmallDisk]:
    with small_disk(own_home, "16m") as disk:
        yield disk


def file_of(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


def holds(nexus: Nexus, kept: dict[str, Path]) -> None:
    for cid, path in kept.items():
        assert nexus.call("content.stat", {"cid": cid}).complete
        assert b"".join(content.read(nexus, cid)) == path.read_bytes()


def test_a_full_disk(alice: Daemon, small: SmallDisk, tmp_path: Path) -> None:
    kept: dict[str, Path] = {}
    with small.client() as nexus:
        status = nexus.call("node.status")
        alice.rpc("peers.connect", address=next(a for a in status.addresses if "/ws" not in a))
        for number in range(3):
            path = file_of(tmp_path / f"small{number}", 500_000)
            kept[content.put_file(nexus, path).cid] = path

        # too much of one's own, from the middle of the file on
        large = file_of(tmp_path / "large", 24 * MIB)
        sent: list[int] = []
        with large.open("rb") as file, pytest.raises(NexusError) as caught:
            content.put_stream(nexus, file, progress=sent.append)
        assert (caught.value.code, len(sent) > 3) == ("storage_full", True)
        # nor is there room for what is here already in parts, and read from a file that is handed over
        with pytest.raises(NexusError) as caught:
            content.put_file(nexus, large)
        assert caught.value.code == "storage_full"
        # and of others'
        elsewhere = alice.rpc("content.begin")["upload"]
        for at in range(0, 24 * MIB, MIB):
            data = base64.b64encode(large.read_bytes()[at : at + MIB]).decode()
            alice.rpc("content.write", upload=elsewhere, offset=at, data=data)
        cid = alice.rpc("content.finish", upload=elsewhere)["cid"]
        with pytest.raises(NexusError) as caught:
            content.fetch(nexus, cid)
        assert caught.value.code == "storage_full"

        # what is acknowledged is there, and content has left room for messages
        holds(nexus, kept)
        for number in range(20):
            sent_message = alice.rpc("dm.send", peer=status.peer_id, content=f"{number} " + "x" * 1000)
            assert sent_message["status"] == "stored"
        assert nexus.call("storage.show").disk_free > 0

    small.end()
    small.start()
    with small.client() as again:
        holds(again, kept)
        assert len(again.call("dm.list", {"limit": 100}).messages) == 20
        # what is here takes no more room, and can be removed
        assert content.put_file(again, tmp_path / "small1").cid in kept
        first = next(iter(kept))
        assert again.call("content.remove", {"cid": first}).bytes > 500_000
        del kept[first]
        holds(again, kept)

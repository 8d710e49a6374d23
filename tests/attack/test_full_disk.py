"""A disk of one megabyte: what was acknowledged is there, what cannot be stored is refused by name, and it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nexusd.client import Nexus, NexusError
from tests.attack.received import ids
from tests.harness.daemon import Daemon, Home
from tests.harness.mallory import mallory
from tests.harness.process import poll
from tests.harness.smalldisk import SmallDisk, small_disk


@pytest.fixture
def small(own_home: Home) -> Iterator[SmallDisk]:
    with small_disk(own_home, "1m") as disk:
        yield disk


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

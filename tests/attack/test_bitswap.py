"""Hostile wants and blocks, against a daemon that has something to give."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
from libp2p.custom_types import TProtocol

from nexusd_protocols import limits
from nexusd_protocols.bitswap import message_pb2 as pb
from nexusd_protocols.bitswap.message import Kind, Message, MessageStream, Want
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.unixfs import FileBuilder
from tests.harness.bitswap import block, cid_of, wants
from tests.harness.daemon import Daemon
from tests.harness.mallory import framed, mallory, unharmed

BITSWAP = "/ipfs/bitswap/1.2.0"
ENTRY = pb.Message.Wantlist.Entry

JUNK = {
    "no protobuf": framed(b"\xff" * 100),
    "a length of a gigabyte": b"\x80\x80\x80\x80\x04",
    "two million empty wants": framed(b"\x0a\x80\x80\x80\x02" + b"\x0a\x00" * (1 << 21)),
    "two million empty blocks": framed(b"\x1a\x00" * (1 << 21)),
    "no CID": framed(pb.Message(wantlist=pb.Message.Wantlist(entries=[ENTRY(block=b"\x07" * 40)])).SerializeToString()),
    "a message without an end": framed(bytes(4 << 20))[:-1],
    "a thousand messages that say nothing": b"\x00" * 1000,
}


def wire(*messages: Message) -> bytes:
    return b"".join(MessageStream().send(message) for message in messages)


@pytest.fixture(scope="module")
def file(alice: Daemon, tmp_path_factory: pytest.TempPathFactory) -> list[Cid]:
    """The leaves of a file of 32 MiB that alice has."""
    path: Path = tmp_path_factory.mktemp("content") / "large.bin"
    path.write_bytes(os.urandom(32 << 20))
    alice.cli("content", "put", str(path), timeout=60)
    builder = FileBuilder()
    leaves = builder.feed(path.read_bytes())
    return [each.cid for each in (*leaves, *builder.finish()[0]) if each.cid.codec == 0x55]


@pytest.mark.parametrize("junk", JUNK)
async def test_junk(alice: Daemon, junk: str) -> None:
    with unharmed(alice):
        async with mallory(alice, name=f"mallory of {junk}") as m:
            line = await m.open(alice, BITSWAP)
            await line.write(JUNK[junk])
            await line.close_write()
            assert await line.answers() == []


async def test_wants_of_what_is_not_here_and_cancels_without_end(alice: Daemon) -> None:
    with unharmed(alice):
        async with mallory(alice, name="mallory who wants") as m:
            line = await m.open(alice, BITSWAP)
            with trio.move_on_after(4):
                for number in range(60):
                    cids = [cid_of(n) for n in range(number * 2000, (number + 1) * 2000)]
                    if not await line.write(wire(wants(*cids), Message(cancels=tuple(cids)))):
                        break
            await line.reset()


async def test_those_who_want_all_and_read_nothing(alice: Daemon, bob: Daemon, file: list[Cid], tmp_path: Path) -> None:
    """Memory stays where it is, and honest bob gets his file meanwhile."""
    before = alice.rss()
    served = []

    async def read_nothing(stream) -> None:
        served.append(stream)
        await trio.sleep_forever()

    async with AsyncExitStack() as stack:
        for number in range(6):
            m = await stack.enter_async_context(mallory(name=f"mallory {number}"))
            m.host.set_stream_handler(TProtocol(BITSWAP), read_nothing)
            await m.dial(alice)
            line = await m.open(alice, BITSWAP)
            for _ in range(4):
                assert await line.write(wire(wants(*file), Message(wants=tuple(Want(c, Kind.HAVE) for c in file))))
        note = tmp_path / "note.bin"
        note.write_bytes(os.urandom(3 << 20))
        cid = alice.cli("content", "put", str(note))["cid"]
        copy = tmp_path / "copy.bin"
        await trio.to_thread.run_sync(lambda: bob.cli("content", "get", cid, "-o", str(copy), timeout=60))
        assert copy.read_bytes() == note.read_bytes()
        assert len(served) == 6, "all were sent something"
        grown = (alice.rss() - before) / limits.MIB
        assert grown < 48, f"alice grew by {grown:.0f} MiB"


async def test_blocks_that_nobody_asked_for_end_in_a_ban(alice: Daemon) -> None:
    with unharmed(alice):
        async with mallory(alice, name="mallory who pushes") as m:
            line = await m.open(alice, BITSWAP)
            with trio.fail_after(60):
                for number in range(10_000):
                    if not await line.write(wire(Message(blocks=(block(number, 200_000),)))):
                        break
                    await trio.sleep(0.05)
                else:
                    pytest.fail("it could go on")
    assert m.peer_id in str(alice.cli("peers", "--banned"))
    alice.cli("peers", "unban", m.peer_id)

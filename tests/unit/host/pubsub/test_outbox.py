from __future__ import annotations

from collections import Counter

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexusd.host.pubsub import outbox
from nexusd.host.pubsub.outbox import Backlog, Encoded, Outbox
from nexusd_protocols.gossipsub import codec
from nexusd_protocols.gossipsub.outputs import Priority
from nexusd_protocols.gossipsub.rpc import Rpc
from nexusd_protocols.pubsub.framing import FrameBuffer
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.nodes import signer


def plain(data: bytes) -> Encoded:
    return Encoded(data, plain=True)


@pytest.fixture
def dropped() -> Counter[Priority]:
    return Counter()


@pytest.fixture
def box(dropped):
    return Outbox(Backlog(), lambda priority: dropped.update([priority]))


def frames(batch: bytes) -> list[bytes]:
    return FrameBuffer().feed(batch)


async def test_the_urgent_goes_first(box):
    for priority in (Priority.GOSSIP, Priority.FORWARDED, Priority.OWN, Priority.CONTROL):
        assert box.push(Encoded(priority.name.encode(), plain=False), priority)
    assert frames(await box.pop()) == [b"CONTROL", b"OWN", b"FORWARDED", b"GOSSIP"]


async def test_messages_are_packed_and_control_is_not(box):
    for part in (b"one", b"two"):
        box.push(plain(part), Priority.OWN)
    box.push(Encoded(b"control", plain=False), Priority.OWN)
    box.push(plain(b"three"), Priority.OWN)
    assert frames(await box.pop()) == [b"onetwo", b"control", b"three"]


async def test_what_is_packed_reads_as_one_rpc(box):
    messages = [SignedMessage.sign(signer("alice"), "/nexus/room/a", b"%d" % n, n) for n in range(3)]
    for message in messages:
        box.push(plain(codec.encode(Rpc(messages=(message,)))), Priority.FORWARDED)
    (frame,) = frames(await box.pop())
    assert codec.decode(frame).messages == tuple(messages)


async def test_an_rpc_is_packed_up_to_a_size(box):
    for _ in range(4):
        box.push(plain(bytes(outbox.PACKED_BYTES // 2)), Priority.OWN)
    assert [len(frame) for frame in frames(await box.pop())] == [outbox.PACKED_BYTES] * 2


async def test_a_batch_ends_at_its_size(box):
    for _ in range(9):
        box.push(plain(bytes(50_000)), Priority.OWN)
    assert len(await box.pop()) < outbox.BATCH_BYTES + 2 * 50_000
    assert box.bytes >= 5 * 50_000


async def test_gossip_makes_room_for_messages_and_messages_are_dropped_last(box, dropped):
    half = plain(bytes(outbox.PEER_BYTES // 2))
    assert box.push(half, Priority.GOSSIP)
    assert box.push(half, Priority.GOSSIP)
    assert not box.push(half, Priority.GOSSIP)
    assert box.push(half, Priority.FORWARDED)
    assert box.push(half, Priority.FORWARDED)
    assert not box.push(half, Priority.FORWARDED)
    assert dropped == {Priority.GOSSIP: 3, Priority.FORWARDED: 1}
    assert box.push(half, Priority.OWN), "what may not be dropped is taken"
    assert box.push(half, Priority.CONTROL)


async def test_where_all_are_short_of_room_each_has_its_share(dropped):
    backlog = Backlog()
    boxes = [Outbox(backlog, lambda _priority: None) for _ in range(64)]
    piece = plain(bytes(outbox.PEER_BYTES // 4))
    for box in boxes[:16]:
        while box.push(piece, Priority.FORWARDED):
            pass
    assert backlog.bytes == outbox.TOTAL_BYTES
    late = boxes[-1]
    assert late.push(piece, Priority.FORWARDED), "the sixty-fourth part of all is its own"
    assert not late.push(piece, Priority.FORWARDED)
    for box in boxes:
        box.close()
    assert backlog == Backlog(0, 0)


async def test_a_publisher_waits_for_room(box, autojump_clock):
    box.push(plain(bytes(outbox.OWN_BYTES + 1)), Priority.OWN)
    with trio.move_on_after(1) as patience:
        await box.wait_for_room()
    assert patience.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(box.wait_for_room)
        nursery.start_soon(box.wait_until_empty)
        await wait_all_tasks_blocked()
        await box.pop()


async def test_nobody_waits_for_what_may_be_dropped(box):
    box.push(plain(bytes(outbox.PEER_BYTES)), Priority.FORWARDED)
    await box.wait_for_room()


async def test_the_writer_wakes(box, autojump_clock):
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _():
            await trio.sleep(1)
            box.push(plain(b"x"), Priority.OWN)
            await trio.sleep(1)
            box.close()

        assert frames(await box.pop()) == [b"x"]
        assert await box.pop() is None
    assert not box.push(plain(b"x"), Priority.CONTROL)


@pytest.mark.parametrize("waiter", ["wait_until_empty", "wait_for_room"])
async def test_closing_wakes_everybody(box, waiter):
    box.push(plain(bytes(outbox.OWN_BYTES + 1)), Priority.OWN)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(getattr(box, waiter))
        await wait_all_tasks_blocked()
        box.close()
        box.close()

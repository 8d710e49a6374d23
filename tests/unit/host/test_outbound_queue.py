from __future__ import annotations

import pytest
import trio
from libp2p.pubsub.pb import rpc_pb2

from nexusd.host.outbound_queue import OutboundQueue, frame


async def test_control_goes_first_and_frames_are_batched():
    queue = OutboundQueue()
    for number in range(3):
        assert queue.push_frame(b"%d" % number)
    assert queue.push(rpc_pb2.RPC(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid="t")]), priority=True)
    batch = await queue.pop()
    assert batch.endswith(b"012")
    assert len(batch) > 3
    assert len(queue) == 0


async def test_a_batch_is_one_write_of_about_64_kib():
    queue = OutboundQueue()
    for _ in range(10):
        queue.push_frame(bytes(30_000))
    assert len(await queue.pop()) == 90_000


async def test_bounds():
    queue = OutboundQueue(frames=2, max_bytes=10)
    assert not queue.push_frame(bytes(11))
    assert queue.push_frame(b"123")
    assert not queue.push_frame(bytes(8))
    assert queue.push_frame(b"4")
    assert not queue.push_frame(b"5")
    await queue.pop()
    assert queue.push_frame(bytes(10))


async def test_waiting_for_room(autojump_clock):
    queue = OutboundQueue(max_bytes=10)
    queue.push_frame(bytes(8))
    with trio.move_on_after(1) as patience:
        await queue.wait_for_room(5)
    assert patience.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.wait_for_room, 5)
        nursery.start_soon(queue.wait_until_empty)
        await queue.pop()


async def test_the_reader_wakes(autojump_clock):
    queue = OutboundQueue()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _():
            await trio.sleep(1)
            queue.push_frame(b"x")
            await trio.sleep(1)
            queue.close()

        assert await queue.pop() == b"x"
        assert await queue.pop() is None


@pytest.mark.parametrize("waiter", ["pop", "wait_until_empty", "wait_for_room"])
async def test_closing_wakes_everybody(waiter):
    queue = OutboundQueue(max_bytes=5)
    if waiter != "pop":
        queue.push_frame(b"12345")
    arguments = (5,) if waiter == "wait_for_room" else ()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(getattr(queue, waiter), *arguments)
        await trio.testing.wait_all_tasks_blocked()
        queue.close()
    assert not queue.push_frame(b"x")


def test_a_frame_has_its_length_before_it():
    rpc = rpc_pb2.RPC(publish=[rpc_pb2.Message(data=bytes(300))])
    raw = rpc.SerializeToString()
    assert frame(rpc) == bytes([len(raw) & 0x7F | 0x80, len(raw) >> 7]) + raw

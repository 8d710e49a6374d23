"""The asynchronous client under Trio (in the same loop as the door) and under asyncio (in a thread of its own)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

from nexusd.client import AsyncNexus, CallError, NexusError
from nexusd.services.capabilities.ports import CallFailed
from tests.harness.door import Door, open_door
from tests.harness.services import FakeEvents

Work = Callable[[AsyncNexus], Awaitable[None]]
Run = Callable[[Door, Work], Awaitable[None]]


async def under_trio(door: Door, work: Work) -> None:
    with trio.fail_after(20):
        async with AsyncNexus.connect(socket=door.path) as nexus:
            await work(nexus)


async def under_asyncio(door: Door, work: Work) -> None:
    async def main() -> None:
        with anyio.fail_after(20):
            async with AsyncNexus.connect(socket=door.path) as nexus:
                await work(nexus)

    await trio.to_thread.run_sync(lambda: anyio.run(main, backend="asyncio"))


@pytest.fixture(params=[under_trio, under_asyncio], ids=["trio", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    chosen: Run = request.param
    return chosen


async def exhaust(items: AsyncIterator[Any]) -> None:
    async for _ in items:
        pass


async def upper(incoming: Any) -> None:
    while (piece := await incoming.receive()) is not None:
        if isinstance(piece[0], str):
            await incoming.emit("partial", piece[0].upper())


async def broken(incoming: Any) -> None:
    await incoming.emit("partial", "half")
    raise CallFailed("OVEN", "it burns")


async def endless(incoming: Any) -> None:
    while True:
        await incoming.emit("token", "again")


async def test_typed_methods_and_refusals(door: Door, run: Run) -> None:
    async def work(nexus: AsyncNexus) -> None:
        assert (await nexus.status()).name == "alice"
        assert (await nexus.rooms.send("general", "hello")).cursor == 1
        assert (await nexus.profile.set(display_name="al")).display_name == "al"
        assert (await nexus.call("room.join", {"room": "general"})).room == "general"
        with pytest.raises(NexusError) as caught:
            await nexus.peers.connect("/ip4/127.0.0.1/tcp/1")
        assert caught.value.code == "unreachable"

    await run(door, work)


async def test_many_tasks_share_a_client(door: Door, run: Run) -> None:
    async def work(nexus: AsyncNexus) -> None:
        cursors = []

        async def send() -> None:
            cursors.append((await nexus.rooms.send("general", "hello")).cursor)

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(send)
        assert sorted(cursors) == list(range(1, 51))

    await run(door, work)


async def test_invoke(door: Door, run: Run) -> None:
    door.fakes.capabilities.functions["upper"] = upper

    async def pieces() -> AsyncIterator[str]:
        for piece in "abc":
            yield piece

    async def work(nexus: AsyncNexus) -> None:
        text = "ä" * 500_000
        assert await nexus.invoke("bob", "upper", "make me loud") == "MAKE ME LOUD"
        assert await nexus.invoke("bob", "upper", text) == text.upper()
        async with nexus.stream("bob", "upper", pieces=pieces()) as call:
            assert [event.data async for event in call] == ["A", "B", "C"]
        assert call.end is not None
        with pytest.raises(NexusError) as caught:
            await nexus.invoke("bob", "nothing")
        assert caught.value.code == "capability_unknown"

    await run(door, work)


async def test_what_came_of_a_paid_call_that_failed_goes_with_the_error(door: Door, run: Run) -> None:
    door.fakes.capabilities.functions["broken"] = broken

    async def work(nexus: AsyncNexus) -> None:
        with pytest.raises(NexusError) as caught:
            await nexus.invoke("bob", "broken", "x", max_price="0.10")
        assert caught.value.data == {"remoteCode": "OVEN", "output": "half"}

    await run(door, work)


async def test_failing_input_is_raised_and_cancels_the_call(door: Door, run: Run) -> None:
    door.fakes.capabilities.functions["upper"] = upper

    async def pieces() -> AsyncIterator[str]:
        yield "a"
        raise ValueError("the input is broken")

    async def work(nexus: AsyncNexus) -> None:
        with pytest.raises(ValueError, match="the input is broken"):
            await nexus.invoke("bob", "upper", pieces=pieces())

    await run(door, work)
    assert door.fakes.capabilities.calls[0].cancelled == "the input failed"


async def test_leaving_a_stream_cancels_the_call(door: Door, run: Run) -> None:
    door.fakes.capabilities.functions["endless"] = endless

    async def work(nexus: AsyncNexus) -> None:
        async with nexus.stream("bob", "endless") as call:
            async for event in call:
                assert event.data == "again"
                break
        with pytest.raises(RuntimeError, match="mine"):
            async with nexus.stream("bob", "endless", pieces=["x"]):
                raise RuntimeError("mine")

    await run(door, work)
    for call in door.fakes.capabilities.calls:
        await call.ended.wait()
        assert call.cancelled


async def test_cancel_gives_the_end(door: Door, run: Run) -> None:
    door.fakes.capabilities.functions["endless"] = endless

    async def work(nexus: AsyncNexus) -> None:
        async with nexus.stream("bob", "endless") as call:
            await anext(call)
            await call.cancel("enough")
            with pytest.raises(NexusError) as caught:
                await exhaust(call)
            assert caught.value.code == "invoke_cancelled"
            assert caught.value.message == "enough"
        assert (await nexus.status()).name == "alice"

    await run(door, work)


async def test_serve(door: Door, run: Run) -> None:
    async def work(nexus: AsyncNexus) -> None:
        async def spell(call: Any) -> AsyncIterator[str]:
            for character in await call.value():
                yield character

        async def answer(call: Any) -> Any:
            value = await call.value()
            if value == "no":
                raise CallError("BAD_REQUEST", "say please")
            if value == "boom":
                raise RuntimeError("a secret of the host")
            return {"got": value, "from": call.info.caller}

        async with anyio.create_task_group() as tasks:
            await tasks.start(nexus.serve, "spell", spell)
            await tasks.start(nexus.serve, "answer", answer)
            text = "abc" * 1000
            assert await nexus.invoke("bob", "spell", text) == text
            assert await nexus.invoke("bob", "answer", [1, 2]) == {"got": [1, 2], "from": "12D3KooWAlice"}
            with pytest.raises(NexusError, match="say please"):
                await nexus.invoke("bob", "answer", "no")
            with pytest.raises(NexusError) as caught:
                await nexus.invoke("bob", "answer", "boom")
            assert "secret" not in str(caught.value)
            tasks.cancel_scope.cancel()

    await run(door, work)
    await door.fakes.capabilities.wait_until(lambda owners: not owners)


async def test_a_cancelled_call_cancels_its_handler(door: Door, run: Run) -> None:
    async def work(nexus: AsyncNexus) -> None:
        began, stopped = anyio.Event(), anyio.Event()

        async def forever(call: Any) -> None:
            began.set()
            try:
                await anyio.sleep_forever()
            finally:
                stopped.set()

        async with anyio.create_task_group() as tasks:
            await tasks.start(nexus.serve, "forever", forever)
            async with nexus.stream("bob", "forever") as call:
                await began.wait()
                await call.cancel("enough")
                with pytest.raises(NexusError, match="enough"):
                    await exhaust(call)
            await stopped.wait()
            tasks.cancel_scope.cancel()

    await run(door, work)


async def test_events_resume_without_loss_or_repeat(path: Path, run: Run) -> None:
    """The door goes down twice while messages keep coming; the log lives on, as the daemon's does."""
    total = 300
    got: list[int] = []
    events = FakeEvents()
    events.store("room", {"n": 0})

    async def host(task_status: trio.TaskStatus[Door]) -> None:
        for life in range(3):
            async with open_door(path, events=events) as door:
                if life == 0:
                    task_status.started(door)
                for _ in range(total // 3):
                    if len(events.log) < total:
                        events.store("room", {"n": len(events.log)})
                    await trio.sleep(0.001)
                if life == 2:
                    await trio.sleep_forever()

    async def work(nexus: AsyncNexus) -> None:
        async with nexus.events(cursor=0, kinds=["room"]) as feed:
            async for event in feed:
                got.append(event.data["n"])
                if len(got) == total:
                    break

    async with trio.open_nursery() as nursery:
        await run(await nursery.start(host), work)
        nursery.cancel_scope.cancel()
    assert got == list(range(total))


async def test_events_give_up_when_the_daemon_stays_away(door: Door, run: Run) -> None:
    async def work(nexus: AsyncNexus) -> None:
        async with nexus.events(patience=0.2) as feed:
            await nexus.rooms.send("general", "hello")
            await anext(feed)
            await nexus.shutdown()
            with pytest.raises(NexusError) as caught:
                await anext(feed)
            assert caught.value.code == "daemon_unreachable"

    async def stop() -> None:
        await door.fakes.node.stopped.wait()
        door.scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        await run(door, work)


async def test_a_timeout(door: Door, run: Run) -> None:
    door.fakes.node.gate = trio.Event()

    async def work(nexus: AsyncNexus) -> None:
        with pytest.raises(NexusError) as caught:
            await nexus.call("node.status", timeout=0.05)
        assert caught.value.code == "timeout"
        assert (await nexus.rooms.join("general")).room == "general"

    await run(door, work)


async def test_a_client_is_used_inside_async_with(path: Path) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await AsyncNexus.connect(socket=path).status()
    with pytest.raises(NexusError) as caught:
        async with AsyncNexus.connect(socket=path):
            pass
    assert caught.value.code == "daemon_unreachable"

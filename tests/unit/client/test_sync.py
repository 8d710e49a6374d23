"""The synchronous client, in a thread, against a real socket."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio

from nexusd.client import CallError, Nexus, NexusError
from nexusd.services.capabilities.ports import CallFailed
from tests.harness.door import Door, open_door
from tests.harness.services import FakeEvents

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    with trio.fail_after(20):
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


async def use(door: Door, work: Callable[[Nexus], T]) -> T:
    """Run synchronous code with a client of the door."""

    def run() -> T:
        with Nexus.connect(socket=door.path) as nexus:
            return work(nexus)

    return await in_thread(run)


async def test_typed_methods(door: Door) -> None:
    def work(nexus: Nexus) -> None:
        assert nexus.status().name == "alice"
        assert nexus.rooms.send("general", "hello").cursor == 1
        assert nexus.profile.set(display_name="al").display_name == "al"
        assert [peer.connected for peer in nexus.peers.list().peers] == [True]
        assert nexus.inbox.send("bob", "hi").status == "stored"
        assert nexus.discover().openrpc.startswith("1.")
        assert nexus.call("node.status").name == "alice"
        assert nexus.call("room.join", {"room": "general"}).room == "general"

    await use(door, work)


async def test_a_file_that_cannot_be_handed_over(door: Door) -> None:
    """Nothing was sent then, so that an answer would be waited for in vain."""

    def work(nexus: Nexus) -> None:
        gone = os.open("/dev/null", os.O_RDONLY)
        os.close(gone)
        with pytest.raises(NexusError) as caught:
            nexus.call("content.writeFrom", {"upload": "u", "offset": 0}, file=gone, timeout=5)
        assert caught.value.code == "bad_file"
        assert nexus.status().name == "alice"

    await use(door, work)


async def test_refusals_carry_the_row_of_the_table(door: Door) -> None:
    def work(nexus: Nexus) -> None:
        with pytest.raises(NexusError) as caught:
            nexus.peers.connect("/ip4/127.0.0.1/tcp/1")
        assert (caught.value.code, caught.value.exit_code) == ("unreachable", 2)
        assert "127.0.0.1" in caught.value.message
        assert caught.value.try_
        with pytest.raises(NexusError) as caught:
            nexus.peers.block("nobody")
        assert (caught.value.code, caught.value.data) == ("ambiguous_peer", ["12D3KooWAlice", "12D3KooWBob"])
        with pytest.raises(NexusError, match="room"):
            nexus.call("room.join", {"room": 5})
        with pytest.raises(NexusError) as caught:
            nexus.call("no.such")
        assert caught.value.code == "method_not_found"

    await use(door, work)


async def upper(incoming: Any) -> None:
    while (piece := await incoming.receive()) is not None:
        data, _ = piece
        if isinstance(data, str):
            await incoming.emit("partial", data.upper())


async def test_invoke_returns_the_value(door: Door) -> None:
    door.fakes.capabilities.functions["upper"] = upper
    text = "ä" * 500_000
    assert await use(door, lambda nexus: nexus.invoke("bob", "upper", "make me loud")) == "MAKE ME LOUD"
    assert await use(door, lambda nexus: nexus.invoke("bob", "upper", text)) == text.upper()
    assert await use(door, lambda nexus: nexus.invoke("bob", "upper", pieces=iter(["a", "b"]))) == "AB"


async def broken(incoming: Any) -> None:
    await incoming.emit("partial", "half")
    raise CallFailed("OVEN", "it burns")


@pytest.mark.parametrize(("max_price", "came"), [("0.10", {"output": "half"}), (None, {})])
async def test_what_came_of_a_paid_call_that_failed_goes_with_the_error(
    door: Door, max_price: str | None, came: Any
) -> None:
    door.fakes.capabilities.functions["broken"] = broken

    def work(nexus: Nexus) -> None:
        with pytest.raises(NexusError) as caught:
            nexus.invoke("bob", "broken", "x", max_price=max_price)
        assert caught.value.data == {"remoteCode": "OVEN", **came}

    await use(door, work)


async def test_invoke_streams(door: Door) -> None:
    door.fakes.capabilities.functions["upper"] = upper

    def work(nexus: Nexus) -> list[str]:
        with nexus.invoke("bob", "upper", pieces=["a", "b", "c"], stream=True) as call:
            got = [event.data for event in call]
        assert call.end is not None
        assert call.end.error is None
        return got

    assert await use(door, work) == ["A", "B", "C"]


async def test_serve(door: Door) -> None:
    ready = threading.Event()
    server = Nexus.connect(socket=door.path)

    def handler(call: Any) -> Any:
        text = call.value()
        if text == "boom":
            raise RuntimeError("a secret of the host")
        if text == "no":
            raise CallError("BAD_REQUEST", "say please")
        return (character for character in text)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, lambda: server.serve("spell", handler, ready=ready.set))
        await in_thread(ready.wait)
        assert await use(door, lambda nexus: [e.data for e in nexus.invoke("bob", "spell", "abc", stream=True)]) == [
            "a",
            "b",
            "c",
        ]

        def failing(nexus: Nexus) -> None:
            with pytest.raises(NexusError, match="say please") as caught:
                nexus.invoke("bob", "spell", "no")
            assert caught.value.data == {"remoteCode": "BAD_REQUEST"}
            with pytest.raises(NexusError) as caught:
                nexus.invoke("bob", "spell", "boom")
            assert "secret" not in str(caught.value)

        await use(door, failing)
        server.close()
    await door.fakes.capabilities.wait_until(lambda owners: not owners)


async def test_cancel_from_another_thread(door: Door) -> None:
    async def endless(incoming: Any) -> None:
        while True:
            await incoming.emit("token", "again")

    door.fakes.capabilities.functions["endless"] = endless

    def work(nexus: Nexus) -> None:
        call = nexus.invoke("bob", "endless", stream=True)
        assert next(call).data == "again"
        threading.Thread(target=call.cancel, args=("enough",)).start()
        with pytest.raises(NexusError) as caught:
            for _ in call:
                pass
        assert (caught.value.code, caught.value.message) == ("invoke_cancelled", "enough")
        assert list(call) == []

    await use(door, work)


async def test_leaving_a_stream_cancels_the_call(door: Door) -> None:
    async def endless(incoming: Any) -> None:
        while True:
            await incoming.emit("token", "again")

    door.fakes.capabilities.functions["endless"] = endless

    def work(nexus: Nexus) -> None:
        with nexus.stream("bob", "endless") as call:
            next(call)

    await use(door, work)
    await door.fakes.capabilities.calls[0].ended_or_cancelled()
    assert door.fakes.capabilities.calls[0].cancelled


async def test_input_that_fails_is_raised_and_cancels_the_call(door: Door) -> None:
    door.fakes.capabilities.functions["upper"] = upper

    def broken() -> Any:
        yield "a"
        raise ValueError("the input is broken")

    def work(nexus: Nexus) -> None:
        with pytest.raises(ValueError, match="the input is broken"):
            nexus.invoke("bob", "upper", pieces=broken())

    await use(door, work)
    assert door.fakes.capabilities.calls[0].cancelled == "the input failed"


async def test_a_slow_reader_holds_the_producer_back(door: Door) -> None:
    async def firehose(incoming: Any) -> None:
        while True:
            await incoming.emit("token", "x" * 1000)

    door.fakes.capabilities.functions["firehose"] = firehose

    def work(nexus: Nexus) -> int:
        with nexus.stream("bob", "firehose", max_output_bytes=1 << 30) as call:
            for _ in range(1000):
                next(call)
            seen = -1
            while seen != (seen := door.fakes.capabilities.calls[0].emitted):
                threading.Event().wait(0.05)
            return seen

    emitted = await use(door, work)
    assert 1000 <= emitted <= 1000 + 300


async def test_a_served_call_that_is_cancelled(door: Door) -> None:
    ready, told = threading.Event(), threading.Event()
    server = Nexus.connect(socket=door.path)

    def handler(call: Any) -> None:
        try:
            while True:
                call.emit("x" * 1000)
        finally:
            assert call.cancelled == "enough"
            told.set()

    def work(nexus: Nexus) -> None:
        with nexus.stream("bob", "flood", max_output_bytes=1 << 30) as call:
            next(call)
            call.cancel("enough")
            with pytest.raises(NexusError, match="enough"):
                list(call)
        assert told.wait(5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, lambda: server.serve("flood", handler, ready=ready.set))
        await in_thread(ready.wait)
        await use(door, work)
        server.close()


async def test_events_resume_without_loss_or_repeat(path: Path) -> None:
    """The daemon is restarted twice while messages keep coming; the log lives on."""
    total, events = 300, FakeEvents()
    events.store("room", 0)

    def follow() -> list[int]:
        got: list[int] = []
        with Nexus.connect(socket=path) as nexus, nexus.events(cursor=0, kinds=["room"]) as feed:
            for event in feed:
                got.append(event.data)
                if len(got) == total:
                    break
        return got

    async def host(task_status: trio.TaskStatus[None]) -> None:
        for life in range(3):
            async with open_door(path, events=events):
                if life == 0:
                    task_status.started()
                for _ in range(total // 3):
                    if len(events.log) < total:
                        events.store("room", len(events.log))
                    await trio.sleep(0.001)
                if life == 2:
                    await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        await nursery.start(host)
        assert await in_thread(follow) == list(range(total))
        nursery.cancel_scope.cancel()


async def test_a_restarted_daemon_is_no_matter_for_the_next_request(path: Path) -> None:
    async with open_door(path) as door:
        nexus = Nexus.connect(socket=path)
        await in_thread(nexus.status)
        await in_thread(nexus.status)
        assert len(door.fakes.capabilities.calls) == 0
    async with open_door(path):
        assert (await in_thread(nexus.status)).name == "alice"
        nexus.close()


async def test_a_timeout_leaves_no_answer_for_the_next_request(door: Door) -> None:
    door.fakes.node.gate = trio.Event()

    def work(nexus: Nexus) -> None:
        with pytest.raises(NexusError) as caught:
            nexus.call("node.status", timeout=0.05)
        assert (caught.value.code, caught.value.exit_code) == ("timeout", 2)
        assert nexus.rooms.join("general").room == "general"

    await use(door, work)


async def test_a_lost_daemon(path: Path) -> None:
    async with open_door(path) as door:
        door.fakes.node.gate = trio.Event()
        nexus = Nexus.connect(socket=path)
        errors: list[NexusError] = []

        def ask() -> None:
            try:
                nexus.status()
            except NexusError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_thread, ask)
            with trio.fail_after(5):
                while not door.fakes.node.running:
                    await trio.sleep(0.001)
            door.scope.cancel()
        await in_thread(ask)
    assert [error.code for error in errors] == ["connection_lost", "daemon_unreachable"]
    nexus.close()


async def test_a_closed_client_says_so(door: Door) -> None:
    def work() -> None:
        nexus = Nexus.connect(socket=door.path)
        nexus.close()
        with pytest.raises(NexusError, match="closed"):
            nexus.status()

    await in_thread(work)


async def test_a_request_that_is_too_large_is_refused_here(door: Door) -> None:
    def work(nexus: Nexus) -> None:
        with pytest.raises(NexusError) as caught:
            nexus.rooms.send("general", "x" * 5_000_000)
        assert caught.value.code == "too_large"
        assert nexus.status().name == "alice"

    await use(door, work)


async def test_many_threads_share_a_client(door: Door) -> None:
    def work(nexus: Nexus) -> None:
        cursors: list[int] = []

        def send() -> None:
            cursors.extend(nexus.rooms.send("general", "x").cursor for _ in range(20))

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(cursors) == list(range(1, 161))

    await use(door, work)

"""The synchronous client, in a thread, against a real socket."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import trio

from nexusd.client import CallError, Nexus, NexusError
from tests.harness.door import Door

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

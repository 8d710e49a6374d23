"""Serving a capability on a connection: requests of the daemon, credit both ways, and dying in the middle."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio

from nexusd.services.capabilities.ports import End, Output
from nexusd_protocols import limits
from nexusd_protocols.rpc import schema
from tests.harness.door import Door
from tests.harness.fakecalls import FakeCall
from tests.harness.rawrpc import RawClient

KIB = 1024


async def provider(door: Door, name: str = "echo") -> RawClient:
    client = await door.connect()
    assert (await client.call("capability.register", {"name": name}))["result"] == {}
    return client


async def call(door: Door, name: str = "echo", **params: Any) -> FakeCall:
    """A call from afar."""
    made = await door.fakes.capabilities.invoke(schema.InvokeParams(peer="alice", capability=name, **params))
    assert isinstance(made, FakeCall)
    return made


async def asked(client: RawClient) -> tuple[int, dict[str, Any]]:
    """The id and parameters of the daemon's next request."""
    message = await client.hear()
    assert message["method"] == "capability.invoke"
    return message["id"], message["params"]


async def answer(client: RawClient, request_id: int, **members: Any) -> None:
    await client.say({"jsonrpc": "2.0", "id": request_id, **(members or {"result": {}})})


async def end_of(made: FakeCall) -> End:
    while True:
        item = await made.receive()
        if isinstance(item, End):
            return item


async def test_a_call_is_a_request_to_the_provider(door: Door) -> None:
    client = await provider(door)
    made = await call(door, input="hello", stream=True)
    request_id, params = await asked(client)
    assert params == {
        "invocation": made.invocation,
        "capability": "echo",
        "caller": made.caller,
        "inputFormat": "text/plain",
        "outputMode": "stream",
        "maxDurationMs": 30_000,
        "maxOutputBytes": 1024 * KIB,
        "credit": limits.RPC_CREDIT_BYTES,
        "metadata": None,
    }
    assert await client.hear_until("call.input") == {"invocation": made.invocation, "data": "hello", "final": True}
    await client.tell("call.event", {"invocation": made.invocation, "event": "token", "data": {"x": 1}})
    await client.tell("call.event", {"invocation": made.invocation, "data": "y"})
    await answer(client, request_id)
    assert await made.receive() == Output(0, "token", {"x": 1})
    assert await made.receive() == Output(1, "partial", "y")
    assert (await end_of(made)).error is None


async def test_a_provider_that_answers_with_an_error(door: Door) -> None:
    client = await provider(door)
    made = await call(door, input="x")
    request_id, _ = await asked(client)
    await answer(client, request_id, error={"code": -1, "message": "no more", "data": {"code": "QUOTA"}})
    error = (await end_of(made)).error
    assert error is not None
    assert (error.message, error.remote_code) == ("no more", "QUOTA")


@pytest.mark.parametrize("data", [None, 5, {"code": 5}, {"code": ""}, []])
async def test_an_error_without_a_word_is_internal(door: Door, data: Any) -> None:
    client = await provider(door)
    made = await call(door, input="x")
    request_id, _ = await asked(client)
    await answer(client, request_id, error={"code": -1, "message": "m" * 5000, "data": data})
    error = (await end_of(made)).error
    assert error is not None
    assert error.remote_code == "INTERNAL"
    assert len(error.message) == 1024


async def test_a_provider_that_dies_in_the_middle_ends_its_calls(door: Door) -> None:
    client = await provider(door)
    made, second = await call(door, input="x"), await call(door, input="y")
    await asked(client)
    await client.tell("call.event", {"invocation": made.invocation, "data": "half"})
    assert await made.receive() == Output(0, "partial", "half")
    await client.close()
    with trio.fail_after(5):
        for one in (made, second):
            error = (await end_of(one)).error
            assert error is not None
            assert error.remote_code == "INTERNAL"
            assert "went away" in error.message
        await door.fakes.capabilities.wait_until(lambda owners: not owners)


async def test_a_provider_that_dies_while_its_output_is_held_back(door: Door) -> None:
    client = await provider(door)
    made = await call(door, input="x")
    await asked(client)
    for _ in range(5):
        await client.tell("call.event", {"invocation": made.invocation, "data": "unread"})
    await trio.testing.wait_all_tasks_blocked(0.01)
    await client.close()
    with trio.fail_after(5):
        assert (await end_of(made)).error is not None


async def test_a_name_is_released_when_the_connection_ends(door: Door) -> None:
    first = await provider(door)
    second = await door.connect()
    taken = await second.call("capability.register", {"name": "echo"})
    assert taken["error"]["data"]["code"] == "capability_taken"
    assert (await second.call("capability.unregister", {"name": "echo"}))["error"]["data"][
        "code"
    ] == "capability_unknown"
    await first.close()
    with trio.fail_after(5):
        await door.fakes.capabilities.wait_until(lambda owners: not owners)
    assert (await second.call("capability.register", {"name": "echo"}))["result"] == {}
    assert (await second.call("capability.unregister", {"name": "echo"}))["result"] == {}
    assert door.fakes.capabilities.owners == {}


async def test_a_cancelled_call_is_told_and_a_late_answer_ignored(door: Door) -> None:
    client = await provider(door)
    made = await call(door, input="x")
    request_id, _ = await asked(client)
    await made.cancel("enough")
    assert await client.hear_until("call.cancelled") == {"invocation": made.invocation, "reason": "enough"}
    late = await client.call("call.event", {"invocation": made.invocation, "data": "x"}, "late")
    assert late["error"]["data"]["code"] == "invocation_unknown"
    await answer(client, request_id)
    assert (await client.call("node.status", request_id="after"))["result"]
    assert (await end_of(made)).error is not None


async def test_output_that_the_caller_does_not_take_is_refused_beyond_credit(door: Door) -> None:
    client = await provider(door)
    made = await call(door, input="x", max_output_bytes=1 << 30)
    await asked(client)
    piece = {"invocation": made.invocation, "data": "x" * 100 * KIB}
    for _ in range(3):
        assert (await client.call("call.event", piece))["result"] == {}
    assert (await client.call("call.event", piece))["error"]["data"]["code"] == "out_of_credit"
    with trio.fail_after(5):
        error = (await end_of(made)).error
    assert error is not None
    assert "credit" in error.message
    assert made.emitted_bytes == 0
    assert (await client.hear_until("call.cancelled"))["reason"] == error.message


async def test_credit_for_output_comes_back_as_it_is_taken(door: Door) -> None:
    """Ten megabytes pass through a window of 256 KiB."""
    client = await provider(door)
    made = await call(door, input="x", max_output_bytes=1 << 30)
    request_id, params = await asked(client)
    total = 10 * KIB * KIB

    async def produce() -> None:
        credit, left = params["credit"], total
        while left:
            while credit <= 0:
                credit += (await client.hear_until("invoke.credit"))["bytes"]
            event = {"invocation": made.invocation, "event": "partial", "data": "x" * 50 * KIB}
            line = msgspec.json.encode({"jsonrpc": "2.0", "method": "call.event", "params": event})
            await client.write(line + b"\n")
            credit -= len(line)
            left -= min(50 * KIB, left)
        await answer(client, request_id)

    got = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(produce)
        while isinstance(item := await made.receive(), Output):
            got += len(item.data)
    assert got >= total
    assert item.error is None


async def test_a_provider_that_never_grants_holds_the_caller_back(door: Door) -> None:
    client = await provider(door)
    made = await call(door, final=False)
    await asked(client)
    sent = 0
    with trio.move_on_after(0.3):
        while True:
            await made.send("x" * 10 * KIB, False)
            sent += 10 * KIB
    assert limits.RPC_CREDIT_BYTES * 0.9 <= sent <= limits.RPC_CREDIT_BYTES + 3 * 10 * KIB
    await client.tell("invoke.credit", {"invocation": made.invocation, "bytes": 100 * KIB})
    with trio.fail_after(5):
        for _ in range(10):
            await made.send("x" * 10 * KIB, False)


async def test_output_past_the_callers_limit_ends_the_call(door: Door) -> None:
    client = await provider(door)
    made = await call(door, input="x", max_output_bytes=10)
    await asked(client)
    await client.tell("call.event", {"invocation": made.invocation, "data": "x" * 11})
    assert "output" in (await client.hear_until("call.cancelled"))["reason"]
    error = (await end_of(made)).error
    assert error is not None
    assert error.remote_code == "OUTPUT_TOO_LARGE"


async def test_a_call_of_a_connection_to_itself(door: Door) -> None:
    client = await provider(door)
    await client.ask("capability.invoke", {"peer": "alice", "capability": "echo", "input": "x"}, "mine")
    seen = {}
    while len(seen) < 2:
        message = await client.hear()
        seen["result" if "result" in message else message["method"]] = message
    request = seen["capability.invoke"]
    await client.tell("call.event", {"invocation": request["params"]["invocation"], "data": "y"})
    await answer(client, request["id"])
    assert (await client.hear_until("invoke.event"))["data"] == "y"
    assert (await client.hear_until("invoke.end"))["error"] is None


async def test_a_provider_that_dies_while_it_registers_leaves_no_name_taken(door: Door) -> None:
    door.fakes.capabilities.telling = trio.Event()
    client = await door.connect()
    await client.say({"jsonrpc": "2.0", "id": 1, "method": "capability.register", "params": {"name": "echo"}})
    await door.fakes.capabilities.wait_until(lambda owners: "echo" in owners)
    door.scope.cancel()
    with trio.fail_after(5):
        await door.fakes.capabilities.wait_until(lambda owners: not owners)

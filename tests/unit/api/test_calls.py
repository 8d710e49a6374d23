"""Calls over the socket: byte credit in each direction, both ends leaving at any moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from nexusd.api.connection import Bounds
from nexusd.services.capabilities.ports import CallFailed
from nexusd_protocols import limits
from tests.harness.door import Door, open_door
from tests.harness.rawrpc import RawClient

KIB = 1024


async def invoke(client: RawClient, capability: str, **params: Any) -> dict[str, Any]:
    answer = await client.call("capability.invoke", {"peer": "bob", "capability": capability, **params})
    result: dict[str, Any] = answer["result"]
    return result


async def settled() -> None:
    """Wait until nothing moves any more."""
    await trio.testing.wait_all_tasks_blocked(0.02)


async def upper(incoming: Any) -> None:
    while (piece := await incoming.receive()) is not None:
        if piece[0] is not msgspec.UNSET:
            await incoming.emit("partial", piece[0].upper())


async def test_a_call_with_its_input(door: Door) -> None:
    door.fakes.capabilities.functions["upper"] = upper
    client = await door.connect()
    begun = await invoke(client, "upper", input="hello")
    assert begun["credit"] == 0
    assert await client.hear_until("invoke.event") == {
        "invocation": begun["invocation"],
        "seq": 0,
        "event": "partial",
        "data": "HELLO",
    }
    end = await client.hear_until("invoke.end")
    assert end["invocation"] == begun["invocation"]
    assert end["error"] is None
    assert end["outputBytes"] == 5


async def test_the_answer_comes_before_the_output(door: Door) -> None:
    door.fakes.capabilities.functions["upper"] = upper
    client = await door.connect()
    for number in range(50):
        await client.ask("capability.invoke", {"peer": "b", "capability": "upper", "input": "x"}, number)
    begun: set[str] = set()
    ended = 0
    while ended < 50:
        message = await client.hear()
        if "result" in message:
            begun.add(message["result"]["invocation"])
        else:
            assert message["params"]["invocation"] in begun
            ended += message["method"] == "invoke.end"


async def test_an_unknown_capability(door: Door) -> None:
    client = await door.connect()
    answer = await client.call("capability.invoke", {"peer": "bob", "capability": "nothing"})
    assert answer["error"]["data"]["code"] == "capability_unknown"


async def test_a_failing_capability_says_why(door: Door) -> None:
    async def fail(incoming: Any) -> None:
        raise CallFailed("BAD_REQUEST", "say please")

    door.fakes.capabilities.functions["fail"] = fail
    client = await door.connect()
    await invoke(client, "fail", input="x")
    end = await client.hear_until("invoke.end")
    assert end["error"] == {"code": "invoke_failed", "message": "say please", "remoteCode": "BAD_REQUEST"}


async def firehose(incoming: Any) -> None:
    while True:
        await incoming.emit("token", "x" * KIB)


@pytest.mark.parametrize("credit", [0, 1, 64 * KIB, limits.RPC_CREDIT_BYTES])
async def test_a_caller_who_never_grants_holds_the_producer_back(door: Door, credit: int) -> None:
    door.fakes.capabilities.functions["firehose"] = firehose
    client = await door.connect()
    await invoke(client, "firehose", credit=credit, maxOutputBytes=1 << 30)
    await settled()
    [call] = door.fakes.capabilities.calls
    # one piece may overrun the credit, and one more waits in the door
    assert call.emitted_bytes <= credit + 2 * KIB + KIB
    assert call.emitted_bytes >= credit * 0.85 - KIB  # the envelope counts as well


async def test_a_grant_lets_exactly_so_much_more_come(door: Door) -> None:
    door.fakes.capabilities.functions["firehose"] = firehose
    client = await door.connect()
    begun = await invoke(client, "firehose", credit=10_000, maxOutputBytes=1 << 30)
    available = 10_000
    for grant in (0, 5_000, 50_000, 1):
        available += grant
        await client.tell("invoke.credit", {"invocation": begun["invocation"], "bytes": grant})
        while available > 0:
            available -= len(await client.line())
        with trio.move_on_after(0.05) as scope:
            await client.line()
        assert scope.cancelled_caught


async def test_a_caller_who_reads_nothing_at_all_costs_a_bound(door: Door) -> None:
    """Not even the credit of 1 GiB lets more than the socket's own bound pile up."""
    door.fakes.capabilities.functions["firehose"] = firehose
    client = await door.connect()
    await client.ask(
        "capability.invoke",
        {"peer": "b", "capability": "firehose", "credit": 1 << 30, "maxOutputBytes": 1 << 30},
    )
    await settled()
    [call] = door.fakes.capabilities.calls
    print(f"{call.emitted_bytes / KIB:.0f} KiB were produced for a reader that takes none")
    assert limits.RPC_OUTGOING_BYTES <= call.emitted_bytes < limits.RPC_OUTGOING_BYTES + 1024 * KIB


async def test_one_slow_call_does_not_hold_up_another(door: Door) -> None:
    door.fakes.capabilities.functions.update(firehose=firehose, upper=upper)
    client = await door.connect()
    await invoke(client, "firehose", credit=1, maxOutputBytes=1 << 30)
    begun = await client.call("capability.invoke", {"peer": "b", "capability": "upper", "input": "x"}, "second")
    while (message := await client.hear())["params"]["invocation"] != begun["result"]["invocation"]:
        pass
    assert message["params"]["data"] == "X"


async def test_input_in_pieces(door: Door) -> None:
    door.fakes.capabilities.functions["upper"] = upper
    client = await door.connect()
    begun = await invoke(client, "upper", final=False)
    assert begun["credit"] == limits.RPC_CREDIT_BYTES
    invocation = begun["invocation"]
    for data in "abc":
        await client.tell("invoke.input", {"invocation": invocation, "data": data})
        assert (await client.hear_until("invoke.event"))["data"] == data.upper()
    await client.tell("invoke.input", {"invocation": invocation, "final": True})
    assert (await client.hear_until("invoke.end"))["error"] is None
    late = await client.call("invoke.input", {"invocation": invocation, "data": "d"})
    assert late["error"]["data"]["code"] == "invocation_unknown"


async def test_input_after_the_last_is_refused(door: Door) -> None:
    blocked = trio.Event()

    async def hold(incoming: Any) -> None:
        await blocked.wait()

    door.fakes.capabilities.functions["hold"] = hold
    client = await door.connect()
    begun = await invoke(client, "hold", input="x")
    refused = await client.call("invoke.input", {"invocation": begun["invocation"], "data": "y"})
    assert refused["error"]["data"]["code"] == "invalid_params"


async def test_a_piece_over_256_kib_is_refused_and_the_call_goes_on(door: Door) -> None:
    door.fakes.capabilities.functions["upper"] = upper
    client = await door.connect()
    begun = await invoke(client, "upper", final=False, maxInputBytes=1 << 20)
    piece = {"invocation": begun["invocation"], "data": "x" * (limits.RPC_PIECE_BYTES + 1)}
    assert (await client.call("invoke.input", piece))["error"]["data"]["code"] == "too_large"
    piece["data"] = "x" * limits.RPC_PIECE_BYTES
    assert (await client.call("invoke.input", piece))["result"] == {}
    assert len((await client.hear_until("invoke.event"))["data"]) == limits.RPC_PIECE_BYTES


async def test_input_beyond_credit_is_refused_and_ends_the_call(door: Door) -> None:
    """The provider takes nothing: what the door holds stays within the credit and one piece."""

    async def hold(incoming: Any) -> None:
        await trio.sleep_forever()

    door.fakes.capabilities.functions["hold"] = hold
    client = await door.connect()
    begun = await invoke(client, "hold", final=False, maxInputBytes=1 << 24)
    piece = {"invocation": begun["invocation"], "data": "x" * 100 * KIB}
    for _ in range(3):
        assert (await client.call("invoke.input", piece))["result"] == {}
    assert (await client.call("invoke.input", piece))["error"]["data"]["code"] == "out_of_credit"
    end = await client.hear_until("invoke.end")
    assert end["error"]["code"] == "invoke_cancelled"
    assert end["error"]["message"] == "out_of_credit"


async def test_credit_for_input_comes_back_as_it_is_taken(door: Door) -> None:
    """Ten megabytes pass through a window of 256 KiB."""
    taken = 0

    async def swallow(incoming: Any) -> None:
        nonlocal taken
        while (piece := await incoming.receive()) is not None:
            taken += len(piece[0]) if isinstance(piece[0], str) else 0

    door.fakes.capabilities.functions["swallow"] = swallow
    client = await door.connect()
    begun = await invoke(client, "swallow", final=False, maxInputBytes=1 << 24)
    credit, left = begun["credit"], 10 * KIB * KIB
    while left:
        while credit <= 0:
            credit += (await client.hear_until("invoke.credit"))["bytes"]
        size = min(left, 50 * KIB)
        line = msgspec.json.encode(
            {
                "jsonrpc": "2.0",
                "method": "invoke.input",
                "params": {"invocation": begun["invocation"], "data": "x" * size},
            }
        )
        await client.write(line + b"\n")
        credit -= len(line)
        left -= size
    await client.tell("invoke.input", {"invocation": begun["invocation"], "final": True})
    assert (await client.hear_until("invoke.end"))["error"] is None
    assert taken == 10 * KIB * KIB


async def test_cancel_ends_the_call_though_its_output_waits_for_credit(door: Door) -> None:
    door.fakes.capabilities.functions["firehose"] = firehose
    client = await door.connect()
    begun = await invoke(client, "firehose", credit=0, maxOutputBytes=1 << 30)
    await settled()
    assert (await client.call("invoke.cancel", {"invocation": begun["invocation"], "reason": "enough"}))["result"] == {}
    end = await client.hear_until("invoke.end")
    assert end["error"]["code"] == "invoke_cancelled"
    assert door.fakes.capabilities.calls[0].cancelled == "enough"


async def test_a_caller_who_leaves_cancels_its_calls(door: Door) -> None:
    door.fakes.capabilities.functions["firehose"] = firehose
    client = await door.connect()
    await invoke(client, "firehose")
    await client.close()
    [call] = door.fakes.capabilities.calls
    with trio.fail_after(5):
        await call.over.wait()  # its end was taken, though there was nobody to tell
    assert "connection" in call.cancelled


async def test_another_connections_call_cannot_be_steered(door: Door) -> None:
    door.fakes.capabilities.functions["firehose"] = firehose
    client, mallory = await door.connect(), await door.connect()
    begun = await invoke(client, "firehose", credit=0)
    for method, params in (
        ("invoke.cancel", {}),
        ("invoke.credit", {"bytes": 1}),
        ("invoke.input", {"data": "x"}),
        ("call.event", {"data": "x"}),
    ):
        answer = await mallory.call(method, {"invocation": begun["invocation"], **params})
        assert answer["error"]["data"]["code"] == "invocation_unknown"
    assert not door.fakes.capabilities.calls[0].cancelled


async def test_calls_of_one_connection_are_bounded(path: Path) -> None:
    async with open_door(path, Bounds(calls=2)) as door:
        door.fakes.capabilities.functions["firehose"] = firehose
        client = await door.connect()
        for _ in range(2):
            await invoke(client, "firehose", credit=0)
        answer = await client.call("capability.invoke", {"peer": "bob", "capability": "firehose"})
        assert answer["error"]["data"]["code"] == "busy"


async def test_a_fault_of_the_service_ends_the_call(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("tests.harness.fakecalls.FakeCall.receive", broken)
    door.fakes.capabilities.functions["upper"] = upper
    client = await door.connect()
    await invoke(client, "upper", input="x")
    end = await client.hear_until("invoke.end")
    assert end["error"]["code"] == "internal_error"
    assert "a fault" not in str(end)
    assert (await client.call("node.status"))["result"]

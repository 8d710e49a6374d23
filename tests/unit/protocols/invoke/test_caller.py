"""The calling end: every frame and every command in every state, limits, and what it makes of the provider."""

from __future__ import annotations

import json

import msgspec
import pytest

from nexusd_protocols import limits
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.frames import PROTOCOL, Usage
from nexusd_protocols.invoke.quota import Limits
from nexusd_protocols.invoke.side import State
from nexusd_protocols.machine import HoldsBack, StreamMachine
from tests.harness.invocation import (
    CALLERS,
    NAMES,
    PROOF,
    SIGNATURE,
    caller,
    line,
    open_command,
    opened_caller,
    provider,
)
from tests.harness.people import ALICE, BOB, CAROL

OVER = (State.ENDED, State.PEER_ENDED)

# what a provider may say in each state, and the state and events that follow
LEGAL = {
    (State.OPEN, "accept"): (State.RUNNING, ["Accepted"]),
    (State.OPEN, "event"): (State.RUNNING, ["Accepted", "Output"]),
    (State.OPEN, "done"): (State.PEER_ENDED, ["Accepted", "Finished"]),
    (State.OPEN, "error"): (State.PEER_ENDED, ["Failed"]),
    (State.OPEN, "cancel"): (State.PEER_ENDED, ["Cancelled"]),
    (State.OPEN, "payment_required"): (State.DEMANDED, ["PaymentDemanded"]),
    (State.OPEN, "quote"): (State.OPEN, []),
    (State.DEMANDED, "done"): (State.PEER_ENDED, ["Accepted", "Finished"]),
    (State.DEMANDED, "error"): (State.PEER_ENDED, ["Failed"]),
    (State.DEMANDED, "cancel"): (State.PEER_ENDED, ["Cancelled"]),
    (State.DEMANDED, "quote"): (State.DEMANDED, []),
    (State.PAID, "accept"): (State.RUNNING, ["Accepted"]),
    (State.PAID, "event"): (State.RUNNING, ["Accepted", "Output"]),
    (State.PAID, "done"): (State.PEER_ENDED, ["Accepted", "Finished"]),
    (State.PAID, "error"): (State.PEER_ENDED, ["Failed"]),
    (State.PAID, "cancel"): (State.PEER_ENDED, ["Cancelled"]),
    (State.PAID, "quote"): (State.PAID, []),
    (State.RUNNING, "event"): (State.RUNNING, ["Output"]),
    (State.RUNNING, "payment_due"): (State.RUNNING, ["PaymentDue"]),
    (State.RUNNING, "done"): (State.PEER_ENDED, ["Finished"]),
    (State.RUNNING, "error"): (State.PEER_ENDED, ["Failed"]),
    (State.RUNNING, "cancel"): (State.PEER_ENDED, ["Cancelled"]),
    (State.RUNNING, "quote"): (State.RUNNING, []),
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", NAMES)
def test_every_frame_in_every_state(state, name):
    machine = CALLERS[state]()
    assert machine.state is state
    if state in OVER:
        assert machine.receive(line(name)) == []
        assert machine.state is state
    elif (state, name) in LEGAL:
        following, names = LEGAL[state, name]
        assert [type(event).__name__ for event in machine.receive(line(name))] == names
        assert machine.state is following
    else:
        with pytest.raises(RemoteProtocolError) as caught:
            machine.receive(line(name))
        named = {"open": "second_open", **({"chunk": "chunk_before_open"} if state is State.START else {})}
        assert caught.value.code == named.get(name, "unexpected_frame")
        reply = caught.value.reply
        assert (json.loads(reply)["type"] == "invoke.cancel") if state is not State.START else reply == b""
        assert machine.state is State.PEER_ENDED


COMMANDS = {
    "open": open_command(),
    "chunk": commands.Chunk("x"),
    "pay": commands.Pay(PROOF),
    "grow": commands.Grow(0, 30, SIGNATURE),
    "open_tab": commands.OpenTab(1, {"x402Version": 2}),
    "exhausted": commands.Exhausted(1),
    "cancel": commands.Cancel(),
    "timed_out": commands.TimedOut(),
}
RUNS = (State.OPEN, State.DEMANDED, State.PAID, State.RUNNING)
SENDS = {
    "open": {State.START: "invoke.open"},
    "chunk": {**dict.fromkeys(RUNS, "invoke.chunk"), State.PEER_ENDED: None},
    "pay": {State.DEMANDED: "invoke.payment_proof"},
    "grow": {State.RUNNING: "invoke.payment", State.PEER_ENDED: None},
    "open_tab": {State.RUNNING: "invoke.payment", State.PEER_ENDED: None},
    "exhausted": {State.RUNNING: "invoke.payment", State.PEER_ENDED: None},
    "cancel": {**dict.fromkeys(RUNS, "invoke.cancel"), State.START: None, State.ENDED: None, State.PEER_ENDED: None},
    "timed_out": {**dict.fromkeys(RUNS, "invoke.cancel"), State.START: None, State.ENDED: None, State.PEER_ENDED: None},
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_every_state(state, name):
    machine = CALLERS[state]()
    if state not in SENDS[name]:
        with pytest.raises(LocalProtocolError, match="cannot be sent"):
            machine.send(COMMANDS[name])
        assert machine.state is state
        return
    lines = [json.loads(text) for text in machine.send(COMMANDS[name]).splitlines()]
    assert [frame["type"] for frame in lines] == [word for word in [SENDS[name][state]] if word]
    assert all(frame["version"] == 1 and frame["requestId"] == "r1" for frame in lines)
    if name in ("cancel", "timed_out") and state not in OVER:
        assert machine.state is State.ENDED


def test_it_is_a_stream_machine():
    machine: StreamMachine[events.CallerEvent, commands.CallerCommand] = caller()
    assert isinstance(machine, HoldsBack)
    assert PROTOCOL == "/nexus/invoke/1.1.0"


def test_open_carries_what_was_asked_for():
    machine = caller()
    frame = json.loads(
        machine.send(
            open_command(
                input_format="application/json",
                output_mode="stream",
                max_duration_ms=1,
                max_input_bytes=2,
                max_output_bytes=3,
                metadata={"a": 1},
                to_agent=CAROL.peer_id,
            )
        )
    )
    assert frame == {
        "type": "invoke.open",
        "version": 1,
        "requestId": "r1",
        "toAgent": CAROL.peer_id,
        "capability": "upper",
        "inputFormat": "application/json",
        "outputMode": "stream",
        "maxDurationMs": 1,
        "maxInputBytes": 2,
        "maxOutputBytes": 3,
        "metadata": {"a": 1},
    }
    assert machine.limits == Limits(max_duration_ms=1, max_input_bytes=2, max_output_bytes=3)


def test_an_author_signs():
    frame = json.loads(caller().send(open_command(author=CAROL)))
    assert frame["fromAgent"] == CAROL.peer_id
    assert len(frame["agentSig"]) == 88


@pytest.mark.parametrize(
    "options",
    [
        {"request_id": ""},
        {"request_id": "r" * 65},
        {"request_id": "a b"},
        {"capability": ""},
        {"capability": "a/b"},
        {"capability": "a" * 65},
        {"input_format": ""},
        {"output_mode": "tree"},
        {"max_duration_ms": 0},
        {"max_duration_ms": limits.INVOKE_DURATION_CEILING_MS + 1},
        {"max_input_bytes": -1},
        {"max_input_bytes": limits.INVOKE_INPUT_CEILING_BYTES + 1},
        {"max_output_bytes": limits.INVOKE_OUTPUT_CEILING_BYTES + 1},
        {"metadata": {"a": object}},
        {"metadata": {"a": 1.5}, "author": CAROL},
        {"to_agent": "bob"},
    ],
    ids=str,
)
def test_a_malformed_call_is_refused_here(options):
    machine = caller()
    with pytest.raises(LocalProtocolError):
        machine.send(open_command(**options))
    assert machine.state is State.START
    assert machine.send(open_command())


@pytest.mark.parametrize(("spare", "fits"), [(1, True), (0, True), (-1, False)])
def test_metadata_that_is_too_large(spare, fits):
    empty = len(caller().send(open_command(metadata={"a": ""}))) - 1
    command = open_command(metadata={"a": "x" * (limits.CONTROL_LINE_BYTES - empty - spare)})
    if fits:
        assert opened_provider_of(caller().send(command))
        return
    with pytest.raises(LimitExceededError) as caught:
        caller().send(command)
    assert caught.value.limit == "line"


def opened_provider_of(opening: bytes) -> list[events.ProviderEvent]:
    """What a provider makes of it: a line that we write is one that we read."""
    return provider().receive(opening)


def test_chunks_are_numbered_and_end():
    machine = opened_caller()
    lines = [
        machine.send(commands.Chunk("a")),
        machine.send(commands.Chunk({"b": 1})),
        machine.send(commands.Chunk(None, True)),
    ]
    frames = [json.loads(text) for text in lines]
    assert [frame["seq"] for frame in frames] == [0, 1, 2]
    assert [frame["isFinalInput"] for frame in frames] == [False, False, True]
    assert [frame["data"] for frame in frames] == ["a", {"b": 1}, None]
    with pytest.raises(LocalProtocolError, match="ended"):
        machine.send(commands.Chunk("b"))


def test_the_input_can_end_without_data():
    machine = opened_caller()
    machine.send(commands.Chunk("a"))
    frame = json.loads(machine.send(commands.Chunk(final=True)))
    assert (frame["data"], frame["isFinalInput"]) == ("", True)
    assert machine.usage.input_bytes == 1


def test_a_chunk_without_data_must_be_final():
    with pytest.raises(LocalProtocolError, match="last"):
        opened_caller().send(commands.Chunk())


@pytest.mark.parametrize(("size", "fits"), [(9, True), (10, True), (11, False)])
def test_input_limit(size, fits):
    machine = opened_caller(max_input_bytes=10)
    machine.send(commands.Chunk("x" * 5))
    command = commands.Chunk("x" * (size - 5), final=True)
    if fits:
        machine.send(command)
        assert machine.usage.input_bytes == size
        return
    with pytest.raises(LimitExceededError) as caught:
        machine.send(command)
    assert caught.value.limit == "input"
    assert machine.usage.input_bytes == 5
    # nothing was sent, so the call can go on or be given up
    assert json.loads(machine.send(commands.Chunk("xxxxx", final=True)))["seq"] == 1


@pytest.mark.parametrize(("size", "fits"), [(9, True), (10, True), (11, False)])
def test_output_limit(size, fits):
    machine = opened_caller(max_output_bytes=10)
    machine.receive(line("event", data="é" * 2 + "x"))
    data = line("event", seq=1, data="x" * (size - 5))
    if fits:
        assert machine.receive(data) == [events.Output(1, "token", "x" * (size - 5), size - 5)]
        return
    with pytest.raises(RemoteProtocolError) as caught:
        machine.receive(data)
    assert caught.value.code == "output_too_large"
    assert json.loads(caught.value.reply) == {
        "type": "invoke.cancel",
        "version": 1,
        "requestId": "r1",
        "reason": "output_too_large",
    }


@pytest.mark.parametrize("data", [float("nan"), object, {1, object}, "\ud800"], ids=repr)
def test_data_that_has_no_json(data):
    machine = opened_caller()
    if data != data:  # NaN becomes null, which is JSON's only word for it
        assert json.loads(machine.send(commands.Chunk(data)))["data"] is None
        return
    with pytest.raises(LocalProtocolError, match="no JSON"):
        machine.send(commands.Chunk(data))
    assert machine.usage.input_bytes == 0


def test_data_that_refers_to_itself():
    data: list[object] = []
    data.append(data)
    with pytest.raises(LocalProtocolError, match="no JSON"):
        opened_caller().send(commands.Chunk(data))


def test_data_that_nests_too_deep():
    data: object = "x"
    for _ in range(limits.JSON_DEPTH - 1):
        data = [data]
    opened_caller().send(commands.Chunk(data))
    with pytest.raises(LimitExceededError) as caught:
        opened_caller().send(commands.Chunk([data]))
    assert caught.value.limit == "depth"


def test_accept_is_told_once():
    machine = opened_caller()
    assert machine.receive(line("accept", estimatedStartMs=3)) == [events.Accepted(3)]
    assert [type(event) for event in machine.receive(line("event") + line("done"))] == [events.Output, events.Finished]


def test_usage_is_counted_here_and_claimed_there():
    machine = opened_caller()
    machine.send(commands.Chunk("abc", final=True))
    machine.receive(line("event", data={"a": 1}))
    claimed = {"inputBytes": 99, "outputBytes": 98, "tokens": 7}
    assert machine.receive(line("done", usage=claimed)) == [
        events.Finished(Usage(input_bytes=3, output_bytes=7, events=1), Usage(input_bytes=99, output_bytes=98))
    ]


def test_long_words_of_the_provider_are_cut():
    [failed] = opened_caller().receive(line("error", message="x" * 5000))
    assert failed == events.Failed("INTERNAL", "x" * limits.ERROR_MESSAGE_CHARS)
    [cancelled] = opened_caller().receive(line("cancel", reason="x" * 5000))
    assert cancelled == events.Cancelled("x" * limits.REASON_CHARS)


def test_our_reason_is_cut():
    frame = json.loads(opened_caller().send(commands.Cancel("x" * 5000)))
    assert len(frame["reason"]) == limits.REASON_CHARS


def test_timed_out_says_so():
    assert json.loads(opened_caller().send(commands.TimedOut()))["reason"] == "timeout"


def test_a_provider_that_ends_its_stream_early():
    for state in (State.START, State.OPEN, State.DEMANDED, State.PAID, State.RUNNING):
        with pytest.raises(RemoteProtocolError, match="cut_short"):
            CALLERS[state]().receive_eof()
    for state in OVER:
        assert CALLERS[state]().receive_eof() == []


def test_a_faster_producer_is_held_back():
    machine = caller(high_water=1000)
    machine.sent(len(machine.send(open_command())))
    chunk = machine.send(commands.Chunk("x" * 1000))
    assert not machine.writable
    with pytest.raises(LocalProtocolError, match="on their way"):
        machine.send(commands.Chunk("y"))
    machine.sent(len(chunk))
    assert machine.writable
    machine.send(commands.Chunk("y"))


def test_giving_up_is_not_held_back():
    machine = caller(high_water=0)
    machine.send(open_command())
    assert not machine.writable
    assert machine.send(commands.Cancel())


def test_unknown_frames_are_bounded():
    machine = caller(max_unknown=3)
    machine.send(open_command())
    assert machine.receive(line("quote") * 3) == []
    with pytest.raises(RemoteProtocolError, match="too_many_unknown") as caught:
        machine.receive(line("quote"))
    assert caught.value.penalty == 10


def test_the_ends_of_the_stream_are_in_the_proof():
    to_bob = json.loads(caller().send(open_command(author=CAROL)))
    other = caller()
    other._peer = ALICE.peer_id
    assert json.loads(other.send(open_command(author=CAROL)))["agentSig"] != to_bob["agentSig"]
    assert BOB.peer_id != ALICE.peer_id


def test_estimated_start_may_be_null():
    assert opened_caller().receive(line("accept", estimatedStartMs=None)) == [events.Accepted(None)]


def test_final_data_is_told_apart_from_none():
    assert commands.Chunk().data is msgspec.UNSET
    assert commands.Chunk(None).data is None


# --- payments ------------------------------------------------------------------------------------------------------
def test_objects_of_x402_go_and_come_as_they_are():
    payment, required, response = {"x402Version": 2, "x": [1]}, {"accepts": []}, {"success": True}
    machine = caller()
    opened = json.loads(machine.send(open_command(payment=payment)))
    assert opened["_meta"] == {"x402/payment": payment}
    demanded = machine.receive(line("payment_required", _meta={"x402/payment-required": required, "other": 1}))
    assert demanded[0].required == required
    assert demanded[0].terms.amount == "1"
    paid = json.loads(machine.send(commands.Pay(PROOF, payment)))
    assert (paid["_meta"], paid["proof"]["amount"]) == ({"x402/payment": payment}, "1")
    finished = machine.receive(line("done", _meta={"x402/payment-response": response}))
    assert finished[1].response == response


def test_a_demand_needs_no_published_terms_and_a_payment_no_proof():
    machine = opened_caller()
    demand = json.loads(line("payment_required", _meta={"x402/payment-required": {"accepts": []}}))
    del demand["terms"]
    (demanded,) = machine.receive(json.dumps(demand).encode() + b"\n")
    assert demanded == events.PaymentDemanded(None, {"accepts": []})
    with pytest.raises(LocalProtocolError, match="neither"):
        machine.send(commands.Pay())
    assert "proof" not in json.loads(machine.send(commands.Pay(payment={"x402Version": 2})))


def test_a_failure_tells_what_became_of_the_payment():
    pending = {"success": False, "errorReason": "settlement_pending", "transaction": "0x1"}
    (failed,) = opened_caller().receive(line("error", _meta={"x402/payment-response": pending}))
    assert failed == events.Failed("INTERNAL", "broken", pending)


def test_a_tab_grows_and_is_followed_by_another():
    machine = CALLERS[State.RUNNING]()
    (due,) = machine.receive(line("payment_due", tab=2, units=7, amount="70", final=True))
    assert due == events.PaymentDue(2, 7, 70, True)
    grown = json.loads(machine.send(commands.Grow(2, 70, SIGNATURE)))
    assert (grown["tab"], grown["amount"], grown["signature"]) == (2, "70", SIGNATURE)
    opened = json.loads(machine.send(commands.OpenTab(3, {"x402Version": 2})))
    assert (opened["tab"], opened["_meta"]) == (3, {"x402/payment": {"x402Version": 2}})
    assert not grown.get("final")
    assert not opened.get("final")
    assert json.loads(machine.send(commands.Grow(2, 71, SIGNATURE, final=True)))["final"]
    assert json.loads(machine.send(commands.OpenTab(3, {"x402Version": 2}, final=True)))["final"]
    last = json.loads(machine.send(commands.Exhausted(3)))
    assert (last["tab"], last["final"]) == (3, True)
    assert last.keys() == {"type", "version", "requestId", "tab", "final"}


@pytest.mark.parametrize("amount", ["01", "-1", "1.0", "", " 1", "1\n", 1, "9" * 79])
def test_an_amount_has_one_text(amount):
    with pytest.raises(RemoteProtocolError, match="bad_message"):
        CALLERS[State.RUNNING]().receive(line("payment_due", amount=amount))

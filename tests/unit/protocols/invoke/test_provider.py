"""The answering end: every frame and every command in every state, limits, and what it makes of the caller."""

from __future__ import annotations

import json

import msgspec
import pytest

from nexusd_protocols import limits
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.caller import Caller
from nexusd_protocols.invoke.frames import CODES, Code
from nexusd_protocols.invoke.quota import Limits
from nexusd_protocols.invoke.side import State
from nexusd_protocols.machine import HoldsBack
from tests.harness.invocation import (
    NAMES,
    PROOF,
    PROVIDERS,
    SIGNATURE,
    TERMS,
    line,
    open_command,
    opened_provider,
    provider,
)
from tests.harness.people import ALICE, BOB, CAROL, MALLORY

OVER = (State.ENDED, State.PEER_ENDED)

LEGAL = {
    (State.START, "open"): (State.OPEN, ["Opened"]),
    (State.DEMANDED, "payment_proof"): (State.PAID, ["PaymentOffered"]),
    **{(state, "chunk"): (state, ["Input"]) for state in PROVIDERS if state not in (*OVER, State.START)},
    **{
        (state, "cancel"): (State.PEER_ENDED, ["Cancelled"]) for state in PROVIDERS if state not in (*OVER, State.START)
    },
    (State.RUNNING, "payment"): (State.RUNNING, ["TabGrown"]),
    **{(state, "quote"): (state, []) for state in PROVIDERS if state not in (*OVER, State.START)},
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", NAMES)
def test_every_frame_in_every_state(state, name):
    machine = PROVIDERS[state]()
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
        named = {"open": "second_open", "chunk": "chunk_before_open"}
        assert caught.value.code == named.get(name, "unexpected_frame")
        reply = json.loads(caught.value.reply)
        assert (reply["type"], reply["code"]) == ("invoke.error", "BAD_REQUEST")
        assert reply["requestId"] == ("" if state is State.START and name != "quote" else "r1")
        assert machine.state is State.PEER_ENDED


COMMANDS = {
    "accept": commands.Accept(5),
    "demand": commands.Demand(TERMS),
    "due": commands.Due(0, 3, 30),
    "event": commands.Event("token", "x"),
    "done": commands.Done(),
    "error": commands.Error("NOT_FOUND", "no such capability"),
    "cancel": commands.Cancel(),
    "timed_out": commands.TimedOut(),
}
WORKS = (State.OPEN, State.PAID, State.RUNNING)
OPENED = (State.OPEN, State.DEMANDED, State.PAID, State.RUNNING)
SENDS = {
    "accept": {State.OPEN: "invoke.accept", State.PAID: "invoke.accept"},
    "demand": {State.OPEN: "invoke.payment_required"},
    "due": {State.RUNNING: "invoke.payment_due", State.PEER_ENDED: None},
    "event": {**dict.fromkeys(WORKS, "invoke.event"), State.PEER_ENDED: None},
    "done": {**dict.fromkeys(WORKS, "invoke.done"), State.PEER_ENDED: None},
    "error": {**dict.fromkeys(OPENED, "invoke.error"), State.PEER_ENDED: None},
    "cancel": {**dict.fromkeys(OPENED, "invoke.cancel"), State.ENDED: None, State.PEER_ENDED: None},
    "timed_out": {
        **dict.fromkeys((State.START, *OPENED), "invoke.error"),
        State.ENDED: None,
        State.PEER_ENDED: None,
    },
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_every_state(state, name):
    machine = PROVIDERS[state]()
    if state not in SENDS[name]:
        with pytest.raises(LocalProtocolError, match="cannot be sent"):
            machine.send(COMMANDS[name])
        assert machine.state is state
        return
    sent = machine.send(COMMANDS[name])
    if SENDS[name][state] is None:
        assert sent == b""
        assert machine.state is state
        return
    frame = json.loads(sent)
    assert frame["type"] == SENDS[name][state]
    assert frame["version"] == 1
    following = {"accept": State.RUNNING, "demand": State.DEMANDED, "due": State.RUNNING, "event": State.RUNNING}
    assert machine.state is following.get(name, State.ENDED)


def test_it_holds_back():
    assert isinstance(provider(), HoldsBack)


def test_codes_are_listed_in_one_place():
    assert {"FORBIDDEN", "NOT_FOUND", "BAD_REQUEST", "INPUT_TOO_LARGE", "OUTPUT_TOO_LARGE", "TIMEOUT"} <= CODES
    assert Code.BUSY in CODES
    assert len(CODES) == 13


def test_the_lower_limit_holds():
    own = Limits(max_duration_ms=5, max_input_bytes=6, max_output_bytes=7)
    machine = provider(grant={"upper": own}.__getitem__)
    [opened] = machine.receive(line("open", maxDurationMs=1000, maxInputBytes=1, maxOutputBytes=1000))
    assert isinstance(opened, events.Opened)
    assert opened.limits == machine.limits == Limits(max_duration_ms=5, max_input_bytes=1, max_output_bytes=7)
    assert opened.caller == ALICE.peer_id
    assert opened.to_agent is None


def test_our_own_limit_refuses_too():
    machine = provider(grant=lambda _name: Limits(max_input_bytes=3))
    machine.receive(line("open"))
    with pytest.raises(RemoteProtocolError) as caught:
        machine.receive(line("chunk", data="four"))
    assert json.loads(caught.value.reply)["code"] == "INPUT_TOO_LARGE"


def test_input_before_anything_was_said_is_delivered():
    machine = provider()
    got = machine.receive(line("open") + line("chunk", isFinalInput=False) + line("chunk", seq=1))
    assert [type(event).__name__ for event in got] == ["Opened", "Input", "Input"]


def test_input_waits_for_no_payment():
    machine = opened_provider()
    machine.send(commands.Demand(TERMS))
    [got] = machine.receive(line("chunk"))
    assert got == events.Input(0, "hi", True, 2)
    [offered] = machine.receive(line("payment_proof"))
    assert isinstance(offered, events.PaymentOffered)
    assert json.loads(machine.send(commands.Event("token", "x")))["seq"] == 0


@pytest.mark.parametrize(("size", "fits"), [(9, True), (10, True), (11, False)])
def test_output_limit(size, fits):
    machine = opened_provider(maxOutputBytes=10)
    machine.send(commands.Event("token", {"a": 1}))  # 7 bytes of JSON
    command = commands.Event("token", "x" * (size - 7))
    if fits:
        machine.send(command)
        assert machine.usage.output_bytes == size
        return
    with pytest.raises(LimitExceededError) as caught:
        machine.send(command)
    assert caught.value.limit == "output"
    assert machine.usage.events == 1
    assert json.loads(machine.send(commands.Error(Code.OUTPUT_TOO_LARGE, "too much")))["code"] == "OUTPUT_TOO_LARGE"


def test_a_line_that_is_too_long_for_the_reader():
    machine = opened_provider(options={"max_line": 500}, maxOutputBytes=10_000)
    with pytest.raises(LimitExceededError) as caught:
        machine.send(commands.Event("token", "x" * 500))
    assert caught.value.limit == "line"
    assert machine.state is State.OPEN


def test_events_are_numbered_and_counted():
    machine = opened_provider()
    machine.receive(line("chunk", data="four"))
    sent = [json.loads(machine.send(commands.Event("token", text))) for text in ("a", "é")]
    assert [frame["seq"] for frame in sent] == [0, 1]
    done = json.loads(machine.send(commands.Done()))
    assert done["usage"] == {"inputBytes": 4, "outputBytes": 3, "events": 2}


@pytest.mark.parametrize("word", ["", "x" * 65])
def test_an_event_needs_a_name(word):
    with pytest.raises(LocalProtocolError, match="name"):
        opened_provider().send(commands.Event(word, "x"))


def test_our_own_words_are_cut():
    frame = json.loads(opened_provider().send(commands.Error("X" * 100, "m" * 9999)))
    assert (len(frame["code"]), len(frame["message"])) == (64, limits.ERROR_MESSAGE_CHARS)
    assert json.loads(opened_provider().send(commands.Error("", "m")))["code"] == "INTERNAL"
    assert len(json.loads(opened_provider().send(commands.Cancel("m" * 9999)))["reason"]) == limits.REASON_CHARS


def test_a_reason_of_the_caller_is_cut():
    [event] = opened_provider().receive(line("cancel", reason="x" * 9999))
    assert event == events.Cancelled("x" * limits.REASON_CHARS)


def test_accept_says_when():
    assert json.loads(opened_provider().send(commands.Accept(5)))["estimatedStartMs"] == 5
    frame = json.loads(opened_provider().send(commands.Accept()))
    assert frame["accepted"] is True
    assert "estimatedStartMs" not in frame


def test_terms_go_out_in_the_published_form():
    frame = json.loads(opened_provider().send(commands.Demand(TERMS)))
    assert frame["terms"] | {"amount": "1", "currency": "USDC", "recipient": "0xabc"} == frame["terms"]


def test_timed_out_names_the_time():
    machine = opened_provider(maxDurationMs=1234)
    frame = json.loads(machine.send(commands.TimedOut()))
    assert frame["code"] == "TIMEOUT"
    assert "1234 ms" in frame["message"]


def test_timed_out_before_open():
    assert json.loads(provider().send(commands.TimedOut()))["requestId"] == ""


def test_the_end_of_the_stream_in_every_state():
    for state, make in PROVIDERS.items():
        got = make().receive_eof()
        assert [type(event).__name__ for event in got] == (["Cancelled"] if state in OPENED else [])


def test_the_end_of_the_stream_after_the_input():
    machine = opened_provider()
    machine.receive(line("chunk"))
    assert machine.receive_eof() == []
    assert machine.state is State.OPEN
    assert machine.send(commands.Event("token", "still here"))


def test_the_reply_names_the_request_if_it_could_be_read():
    with pytest.raises(RemoteProtocolError) as caught:
        provider().receive(line("open", version=2))
    assert json.loads(caught.value.reply)["requestId"] == "r1"
    with pytest.raises(RemoteProtocolError) as caught:
        provider().receive(line("open", requestId="not one"))
    assert json.loads(caught.value.reply)["requestId"] == ""


def test_a_faster_producer_is_held_back():
    machine = opened_provider(options={"high_water": 1000})
    given = 0
    while machine.writable:
        given += len(machine.send(commands.Event("token", "x" * 100)))
    assert 1000 < given < 1300
    with pytest.raises(LocalProtocolError, match="on their way"):
        machine.send(commands.Event("token", "y"))
    machine.sent(given)
    assert machine.writable
    assert machine.send(commands.Event("token", "y"))


@pytest.mark.parametrize("command", [commands.Done(), commands.Error("X", ""), commands.Cancel(), commands.TimedOut()])
def test_the_end_is_not_held_back(command):
    machine = opened_provider(options={"high_water": 0})
    machine.send(commands.Event("token", "x"))
    assert not machine.writable
    assert machine.send(command)


def test_an_agent_is_proven_end_to_end():
    opening = Caller(ALICE.peer_id, BOB.peer_id).send(
        open_command(author=CAROL, to_agent=MALLORY.peer_id, metadata={"k": [1]})
    )
    [opened] = provider().receive(opening)
    assert isinstance(opened, events.Opened)
    assert (opened.caller, opened.to_agent) == (CAROL.peer_id, MALLORY.peer_id)


def test_a_stolen_opening_is_worth_nothing_from_another_peer():
    opening = Caller(ALICE.peer_id, BOB.peer_id).send(open_command(author=CAROL))
    machine = provider()
    machine._peer = MALLORY.peer_id
    with pytest.raises(RemoteProtocolError) as caught:
        machine.receive(opening)
    assert (caught.value.code, caught.value.penalty) == ("forged_agent", 10)
    assert json.loads(caught.value.reply)["code"] == "FORBIDDEN"


def test_a_proof_of_payment_is_read_whole():
    machine = opened_provider()
    machine.send(commands.Demand(TERMS))
    frame = {"type": "invoke.payment_proof", "version": 1, "requestId": "r1", "proof": msgspec.to_builtins(PROOF)}
    [offered] = machine.receive(json.dumps(frame).encode() + b"\n")
    assert offered == events.PaymentOffered(PROOF)


@pytest.mark.parametrize("digits", [20, 400, 4299, 4301, 5000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_huge_integers(digits, sign):
    number = (sign + "9" * digits).encode()
    chunk = line("chunk").replace(b'"hi"', number)
    if len(number) <= 4300:
        [got] = opened_provider().receive(chunk)
        assert got.size == len(number)
    else:
        with pytest.raises(RemoteProtocolError, match="bad_message"):
            opened_provider().receive(chunk)


@pytest.mark.parametrize("value", ["NaN", "01", '"\\ud800"', '"\x01"', "tru"])
@pytest.mark.parametrize("name", ["chunk", "quote"])
def test_bad_json_in_fields_that_nobody_reads(name, value):
    bad = line(name).replace(b'"version"', f'"x": {value}, "version"'.encode())
    with pytest.raises(RemoteProtocolError, match="bad_json"):
        opened_provider().receive(bad)


# --- payments ------------------------------------------------------------------------------------------------------
def test_objects_of_x402_go_and_come_as_they_are():
    payment, required, response = {"x402Version": 2, "x": [1]}, {"accepts": []}, {"success": True}
    machine = provider()
    (opened,) = machine.receive(line("open", _meta={"x402/payment": payment}))
    assert opened.payment == payment
    demand = json.loads(machine.send(commands.Demand(None, required)))
    assert (demand["_meta"], "terms" in demand) == ({"x402/payment-required": required}, False)
    proof = json.loads(line("payment_proof", _meta={"x402/payment": payment}))
    del proof["proof"]
    (offered,) = machine.receive(json.dumps(proof).encode() + b"\n")
    assert offered == events.PaymentOffered(None, payment)
    done = json.loads(machine.send(commands.Done(response)))
    assert done["_meta"] == {"x402/payment-response": response}


def test_a_failure_tells_what_became_of_the_payment():
    pending = {"success": False, "errorReason": "settlement_pending"}
    failed = json.loads(opened_provider().send(commands.Error(Code.SETTLEMENT_PENDING, "sent", pending)))
    assert failed["_meta"] == {"x402/payment-response": pending}


def test_a_demand_or_an_answer_that_says_nothing_is_refused():
    machine = opened_provider()
    with pytest.raises(LocalProtocolError, match="without terms"):
        machine.send(commands.Demand())
    machine.send(commands.Demand(TERMS))
    with pytest.raises(RemoteProtocolError, match="bad_message"):
        machine.receive(b'{"type":"invoke.payment_proof","version":1,"requestId":"r1"}\n')


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": None},
        {"amount": None},
        {"amount": None, "signature": None},
        {"_meta": {"x402/payment": {}}},
        {"signature": None, "final": True},
        {"amount": None, "signature": None, "final": False},
        {"_meta": {"x402/payment": {}}, "final": True},
    ],
)
def test_a_tab_grows_or_opens(changes):
    fields = {"type": "invoke.payment", "version": 1, "requestId": "r1", "tab": 1, "amount": "3"}
    fields |= {"signature": "0x" + "11" * 65, **changes}
    told = {name: value for name, value in fields.items() if value is not None}
    with pytest.raises(RemoteProtocolError, match="bad_message"):
        PROVIDERS[State.RUNNING]().receive(json.dumps(told).encode() + b"\n")


def test_each_payment_answers_a_question():
    machine = PROVIDERS[State.RUNNING]()
    assert machine.receive(line("payment")) == [events.TabGrown(0, 30, SIGNATURE)]
    with pytest.raises(RemoteProtocolError, match="unasked_payment") as caught:
        machine.receive(line("payment"))
    assert caught.value.penalty == 10
    assert machine.state is State.PEER_ENDED


def test_a_caller_that_gives_up_says_a_last_word_once():
    machine = PROVIDERS[State.RUNNING]()
    machine.receive(line("payment"))
    last = {**json.loads(line("payment")), "final": True}
    assert machine.receive(json.dumps(last).encode() + b"\n") == [events.TabGrown(0, 30, SIGNATURE, final=True)]
    with pytest.raises(RemoteProtocolError, match="unasked_payment"):
        machine.receive(json.dumps(last).encode() + b"\n")


def test_a_new_tab():
    fields = {"type": "invoke.payment", "version": 1, "requestId": "r1", "tab": 1, "_meta": {"x402/payment": {"a": 1}}}
    assert PROVIDERS[State.RUNNING]().receive(json.dumps(fields).encode() + b"\n") == [events.TabOpened(1, {"a": 1})]


@pytest.mark.parametrize(
    ("fields", "event"),
    [
        ({"amount": "3", "signature": SIGNATURE}, events.TabGrown(1, 3, SIGNATURE, final=True)),
        ({"_meta": {"x402/payment": {"a": 1}}}, events.TabOpened(1, {"a": 1}, final=True)),
        ({}, events.TabExhausted(1)),
    ],
)
def test_the_last_word_of_a_payer(fields, event):
    told = {"type": "invoke.payment", "version": 1, "requestId": "r1", "tab": 1, "final": True, **fields}
    assert PROVIDERS[State.RUNNING]().receive(json.dumps(told).encode() + b"\n") == [event]

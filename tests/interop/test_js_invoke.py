"""Capabilities across implementations: they call ours, we call theirs, with the frames of the published network."""

from __future__ import annotations

import base64
import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.daemon import Daemon
from tests.harness.js import JsPeer
from tests.harness.process import poll

INVOKE = "/nexus/invoke/1.1.0"
OPEN_FIELDS = {
    "type", "version", "requestId", "capability", "inputFormat", "outputMode", "maxDurationMs", "maxInputBytes",
    "maxOutputBytes",
}  # fmt: skip
CHUNK_FIELDS = {"type", "version", "requestId", "seq", "isFinalInput", "data"}
EVENT_FIELDS = {"type", "version", "requestId", "seq", "event", "data"}
DONE_FIELDS = {"type", "version", "requestId", "usage"}
ERROR_FIELDS = {"type", "version", "requestId", "code", "message"}
CANCEL_FIELDS = {"type", "version", "requestId", "reason"}

COUNT = """
import json, sys
for n in range(1, json.load(sys.stdin)["to"] + 1):
    print(json.dumps({"n": n}), flush=True)
"""


@pytest.fixture(scope="module")
def serving(alice: Daemon, carol: JsPeer) -> Iterator[Daemon]:
    """Alice serves a command of each kind; carol all of hers."""
    alice.cli("capability", "serve", "upper", "--", "tr", "a-z", "A-Z")
    alice.cli("capability", "serve", "count", "--jsonl", "--", sys.executable, "-c", COUNT)
    alice.cli("capability", "serve", "fail", "--", "sh", "-c", "echo broken >&2; exit 3")
    alice.cli("capability", "serve", "forever", "--jsonl", "--", "sh", "-c", "while :; do echo 1; sleep 0.05; done")
    alice.cli("capability", "serve", "flood", "--", "head", "-c", "3000000", "/dev/zero")
    for name in ("upper", "count", "flood", "fail", "hang"):
        carol.call("serve", name=f"js-{name}", kind=name)
    carol.call("serve", name="js-priced", kind="upper", price="1000")
    yield alice
    for name in ("upper", "count", "fail", "forever", "flood"):
        alice.cli("capability", "remove", name)


def frames(call: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in call["lines"]]


def text_of(frames_: list[dict[str, Any]]) -> str:
    return "".join(frame["data"] for frame in frames_ if frame["type"] == "invoke.event")


# --- they call ours ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("half_close", [True, False])
def test_unary_call_of_ours(serving: Daemon, carol: JsPeer, half_close: bool) -> None:
    call = carol.call("invoke", peer=serving.peer_id, capability="upper", input="make me loud", halfClose=half_close)
    got = frames(call)
    assert not call["reset"]
    assert text_of(got).strip() == "MAKE ME LOUD"
    assert [frame["type"] for frame in got if frame["type"] != "invoke.accept"] == ["invoke.event", "invoke.done"]
    assert all(frame["version"] == 1 and frame["requestId"] == call["requestId"] for frame in got)
    event, done = got[-2:]
    assert set(event) == EVENT_FIELDS
    assert set(done) == DONE_FIELDS
    assert done["usage"] == {"inputBytes": 12, "outputBytes": len(text_of(got).encode()), "events": 1}
    for accept in got[:-2]:
        assert set(accept) <= {"type", "version", "requestId", "accepted", "estimatedStartMs"}
        assert accept["accepted"] is True


def test_streaming_call_of_ours(serving: Daemon, carol: JsPeer) -> None:
    call = carol.call(
        "invoke",
        peer=serving.peer_id,
        capability="count",
        input={"to": 5},
        inputFormat="application/json",
        outputMode="stream",
    )
    events = [frame for frame in frames(call) if frame["type"] == "invoke.event"]
    assert [event["seq"] for event in events] == list(range(5))
    assert [event["data"] for event in events] == [{"n": n} for n in range(1, 6)]
    assert frames(call)[-1]["type"] == "invoke.done"


def test_frames_may_arrive_in_pieces(serving: Daemon, carol: JsPeer) -> None:
    call = carol.call(
        "invoke", peer=serving.peer_id, capability="upper", input="piece by piece", splitAt=list(range(10, 300, 30))
    )
    assert text_of(frames(call)).strip() == "PIECE BY PIECE"


def test_an_unknown_capability_is_not_found(serving: Daemon, carol: JsPeer) -> None:
    error = frames(carol.call("invoke", peer=serving.peer_id, capability="nothing", input=""))[-1]
    assert set(error) == ERROR_FIELDS
    assert (error["type"], error["code"]) == ("invoke.error", "NOT_FOUND")


def test_a_failing_command_is_an_error_with_its_stderr(serving: Daemon, carol: JsPeer) -> None:
    error = frames(carol.call("invoke", peer=serving.peer_id, capability="fail", input=""))[-1]
    assert set(error) == ERROR_FIELDS
    assert error["type"] == "invoke.error"
    assert "broken" in error["message"]


def test_output_past_the_stated_limit_is_cut_with_a_reason(serving: Daemon, carol: JsPeer) -> None:
    call = carol.call("invoke", peer=serving.peer_id, capability="flood", input="", maxOutputBytes=100_000)
    got = frames(call)
    assert got[-1]["type"] == "invoke.error"
    assert sum(len(json.dumps(f["data"])) for f in got if f["type"] == "invoke.event") <= 700_000  # \\u0000 is 6 bytes


def test_input_past_the_stated_limit_is_refused(serving: Daemon, carol: JsPeer) -> None:
    got = frames(carol.call("invoke", peer=serving.peer_id, capability="upper", input="x" * 1000, maxInputBytes=100))
    assert [frame["type"] for frame in got if frame["type"] != "invoke.accept"] == ["invoke.error"]


def test_duration_past_the_stated_limit_is_cut(serving: Daemon, carol: JsPeer) -> None:
    got = frames(
        carol.call(
            "invoke", peer=serving.peer_id, capability="forever", input="", outputMode="stream", maxDurationMs=500
        )
    )
    assert got[-1]["type"] == "invoke.error"


@pytest.mark.parametrize("reset", [False, True])
def test_their_cancel_ends_the_command(serving: Daemon, carol: JsPeer, reset: bool) -> None:
    request = f"cancel-{reset}"
    call = carol.start(
        "invoke",
        peer=serving.peer_id,
        capability="forever",
        input="",
        outputMode="stream",
        requestId=request,
        halfClose=False,
    )
    carol.event("invokeReply", lambda e: e["requestId"] == request and e["frame"]["type"] == "invoke.event")
    carol.call("cancel", requestId=request, reset=reset)
    carol.finish(call)
    import psutil

    def commands_of_alice() -> list[Any]:
        found = []
        for process in psutil.Process(serving.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended since it was listed
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    poll(lambda: not commands_of_alice(), "the command of the cancelled call ended")


OPEN = {
    "type": "invoke.open", "version": 1, "requestId": "r", "capability": "upper", "inputFormat": "text/plain",
    "outputMode": "unary", "maxDurationMs": 30000, "maxInputBytes": 65536, "maxOutputBytes": 1048576,
}  # fmt: skip
CHUNK = {"type": "invoke.chunk", "version": 1, "requestId": "r", "seq": 0, "isFinalInput": True, "data": "x"}


def lines(*messages: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


BAD = {
    "a chunk before open": lines(CHUNK),
    "a second open": lines(OPEN, OPEN),
    "not JSON": b"{\n",
    "not UTF-8": lines(OPEN)[:-2] + b',"x":"\xff"}\n',
    "another version": lines({**OPEN, "version": 2}),
    "no capability": lines({k: v for k, v in OPEN.items() if k != "capability"}),
    "negative limit": lines({**OPEN, "maxInputBytes": -1}),
    "nested": b'{"type":"invoke.open","metadata":' + b"[" * 10_000 + b"]" * 10_000 + b"}\n",
    "a chunk of another call": lines(OPEN, {**CHUNK, "requestId": "s"}),
    "a chunk behind the final one": lines(OPEN, CHUNK, {**CHUNK, "seq": 1}),
    "a line of 10 MB": b'{"type":"invoke.open","x":"' + b"x" * 10_000_000 + b'"}\n',
    "a million tiny lines": b"1\n" * 1_000_000,
    "only newlines": b"\n" * 100_000,
}


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("fault", sorted(BAD))
def test_bad_frames_end_their_stream_only(serving: Daemon, carol: JsPeer, fault: str, end: str) -> None:
    data = BAD[fault]
    pieces = [base64.b64encode(data[at : at + 1_000_000]).decode() for at in range(0, len(data), 1_000_000)]
    answer = carol.call("stream", peer=serving.peer_id, protocol=INVOKE, base64=pieces, end=end, timeout=40)
    assert not answer.get("open"), "the stream must end"
    assert '"invoke.done"' not in answer["text"] or fault == "a chunk behind the final one"
    call = carol.call("invoke", peer=serving.peer_id, capability="upper", input="alive")
    assert text_of(frames(call)).strip() == "ALIVE"


# --- we call theirs ---------------------------------------------------------------------------------------------------
def frames_of(carol: JsPeer, since: int, kind: str) -> dict[str, Any]:
    event = carol.event("invokeFrame", lambda e: e["frame"] and e["frame"]["type"] == kind, since=since)
    frame: dict[str, Any] = event["frame"]
    return frame


def test_our_caller_needs_no_accept_and_sends_the_published_frames(serving: Daemon, carol: JsPeer) -> None:
    since = carol.mark()
    result = serving.cli("invoke", carol.peer_id, "js-upper", "make me loud")
    assert "MAKE ME LOUD" in json.dumps(result)
    opened, chunk = frames_of(carol, since, "invoke.open"), frames_of(carol, since, "invoke.chunk")
    assert set(opened) >= OPEN_FIELDS
    assert set(opened) - OPEN_FIELDS <= {"metadata", "fromAgent", "toAgent"}
    assert set(chunk) == CHUNK_FIELDS
    assert opened["version"] == chunk["version"] == 1
    assert opened["requestId"] == chunk["requestId"]
    assert (opened["capability"], opened["outputMode"]) == ("js-upper", "unary")
    assert (chunk["seq"], chunk["isFinalInput"], chunk["data"]) == (0, True, "make me loud")


def test_our_caller_streams(serving: Daemon, carol: JsPeer) -> None:
    since = carol.mark()
    items = serving.cli_lines("invoke", carol.peer_id, "js-count", '{"to": 5}', "--stream")
    assert frames_of(carol, since, "invoke.open")["outputMode"] == "stream"
    assert [item["data"] for item in items if item.get("event") == "token"] == [1, 2, 3, 4, 5]


def test_their_error_is_shown(serving: Daemon, carol: JsPeer) -> None:
    error = serving.cli_error("invoke", carol.peer_id, "js-fail", "")
    assert error["code"] == "invoke_failed"
    assert "the handler failed" in error["message"]


def test_their_unknown_capability(serving: Daemon, carol: JsPeer) -> None:
    error = serving.cli_error("invoke", carol.peer_id, "js-nothing", "")
    assert error["exitCode"] == 1
    assert error["code"] in ("capability_unknown", "invoke_refused", "invoke_failed")


def test_a_priced_capability_is_refused_and_left(serving: Daemon, carol: JsPeer) -> None:
    since = carol.mark()
    assert serving.cli_error("invoke", carol.peer_id, "js-priced", "x")["code"] == "payment_required"
    carol.event("invokeEnd", since=since)


def test_output_past_what_we_stated_ends_the_call(serving: Daemon, carol: JsPeer) -> None:
    ask = json.dumps({"events": 1000, "size": 10_000})
    error = serving.cli_error("invoke", carol.peer_id, "js-flood", ask, "--max-output", "100000")
    assert error["exitCode"] == 1
    assert error["code"] in ("too_large", "invoke_failed")


def test_ctrl_c_cancels_at_their_provider(serving: Daemon, carol: JsPeer) -> None:
    since = carol.mark()
    call = serving.spawn_cli("invoke", carol.peer_id, "js-hang", "", "--stream")
    call.item(lambda item: item.get("data") == "waiting")
    assert call.interrupt() == 1
    cancel = frames_of(carol, since, "invoke.cancel")
    assert set(cancel) == CANCEL_FIELDS


def test_their_silence_ends_by_the_duration_we_stated(serving: Daemon, carol: JsPeer) -> None:
    error = serving.cli_error("invoke", carol.peer_id, "js-hang", "", "--max-duration", "0.5")
    assert error["code"] == "timeout"


def test_a_published_client_does_not_serve_the_handshake(serving: Daemon, carol: JsPeer) -> None:
    found = serving.cli("capability", "list", carol.peer_id)
    assert found["answered"] is False
    assert found["capabilities"] == []

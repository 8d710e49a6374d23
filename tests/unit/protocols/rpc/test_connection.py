"""The JSON-RPC machine: what is accepted, what is refused and how, and that framing never matters."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import CODES, Refusal
from nexusd_protocols.rpc.connection import (
    Connection,
    Invalid,
    Notification,
    Request,
    Response,
    decode_params,
    notification,
    unattributed_error,
)

REQUEST = b'{"jsonrpc":"2.0","id":1,"method":"node.status"}'


def line(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode() + b"\n"


def refusal(reply: bytes) -> tuple[Any, str]:
    """The id and the word of an error line."""
    answer = json.loads(reply)
    assert answer["jsonrpc"] == "2.0"
    assert answer["error"]["code"] == CODES[answer["error"]["data"]["code"]].number
    return answer["id"], answer["error"]["data"]["code"]


def test_a_request_and_its_result() -> None:
    connection = Connection()
    [request] = connection.receive(REQUEST + b"\n")
    assert isinstance(request, Request)
    assert (request.id, request.method, bytes(request.params), request.size) == (1, "node.status", b"{}", len(REQUEST))
    assert connection.answering == 1
    assert connection.result(1, schema.Done()) == b'{"jsonrpc":"2.0","id":1,"result":{}}\n'
    assert connection.answering == 0


def test_a_request_and_its_refusal() -> None:
    connection = Connection()
    connection.receive(REQUEST + b"\n")
    reply = connection.error(1, Refusal("ambiguous_peer", "two fit", ["a", "b"]))
    assert json.loads(reply) == {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {
            "code": -32004,
            "message": "two fit",
            "data": {
                "code": "ambiguous_peer",
                "try": "give more of the peer id",
                "exitCode": 1,
                "detail": ["a", "b"],
            },
        },
    }


@pytest.mark.parametrize("request_id", [0, -1, 2**53 - 1, "", "a", "x" * limits.RPC_ID_CHARS, "ä"])
def test_ids_that_are_accepted(request_id: Any) -> None:
    connection = Connection()
    [request] = connection.receive(line(id=request_id, method="m"))
    assert isinstance(request, Request)
    assert request.id == request_id
    assert json.loads(connection.result(request_id, 1))["id"] == request_id


@pytest.mark.parametrize(
    "request_id", [None, 1.5, True, [], {}, 2**53, -(2**53), 10**40, "x" * (limits.RPC_ID_CHARS + 1)]
)
def test_ids_that_are_refused(request_id: Any) -> None:
    connection = Connection()
    [invalid] = connection.receive(line(id=request_id, method="m"))
    assert isinstance(invalid, Invalid)
    assert refusal(invalid.reply) == (None, "invalid_request")
    assert connection.answering == 0


def test_an_id_in_use_is_refused_without_answering_under_it() -> None:
    connection = Connection()
    first, second = connection.receive(REQUEST + b"\n" + REQUEST + b"\n")
    assert isinstance(first, Request)
    assert isinstance(second, Invalid)
    assert refusal(second.reply) == (None, "invalid_request")
    connection.result(1, {})
    [again] = connection.receive(REQUEST + b"\n")
    assert isinstance(again, Request)


MALFORMED = {
    "not JSON": (b"hello", "parse_error"),
    "cut off": (b'{"jsonrpc":"2.0"', "parse_error"),
    "two values": (b"{} {}", "parse_error"),
    "NaN": (b'{"jsonrpc":"2.0","id":1,"method":"m","params":NaN}', "parse_error"),
    "a number with a leading zero": (b'{"jsonrpc":"2.0","id":01,"method":"m"}', "parse_error"),
    "nesting of 10,000": (b"[" * 10_000 + b"]" * 10_000, "parse_error"),
    "nesting of objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "parse_error"),
    "nesting that is never closed": (b"[" * 10_000, "parse_error"),
    "a string": (b'"hello"', "invalid_request"),
    "a number": (b"12", "invalid_request"),
    "null": (b"null", "invalid_request"),
    "an empty object": (b"{}", "invalid_request"),
    "no version": (b'{"id":1,"method":"m"}', "invalid_request"),
    "version 1": (b'{"jsonrpc":"1.0","id":1,"method":"m"}', "invalid_request"),
    "a version that is a number": (b'{"jsonrpc":2.0,"id":1,"method":"m"}', "invalid_request"),
    "a method that is a number": (b'{"jsonrpc":"2.0","id":1,"method":7}', "invalid_request"),
    "a method in bad UTF-8": (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', "parse_error"),
    "bad UTF-8 in an unknown member": (b'{"jsonrpc":"2.0","id":1,"method":"m","x":"\xc3"}', "parse_error"),
    "a lone surrogate": (b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', "parse_error"),
    "neither request nor answer": (b'{"jsonrpc":"2.0","id":1}', "invalid_request"),
    "result and error": (
        b'{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":""}}',
        "invalid_request",
    ),
    "an error that is text": (b'{"jsonrpc":"2.0","id":1,"error":"no"}', "invalid_request"),
    "an empty batch": (b"[]", "invalid_request"),
    "a batch that is cut off": (b"[{},", "parse_error"),
}


@pytest.mark.parametrize(("data", "code"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_lines_are_refused_and_the_connection_goes_on(data: bytes, code: str) -> None:
    connection = Connection()
    invalid, request = connection.receive(data + b"\n" + REQUEST + b"\n")
    assert isinstance(invalid, Invalid)
    assert refusal(invalid.reply)[1] == code
    assert isinstance(request, Request)


def test_unknown_members_empty_lines_and_carriage_returns_are_ignored() -> None:
    connection = Connection()
    [request] = connection.receive(b'\n\r\n{"jsonrpc":"2.0","id":1,"method":"m","x":[1],"y":"\\u0000"}\r\n\n')
    assert isinstance(request, Request)


def test_a_notification() -> None:
    data = b'{"jsonrpc":"2.0","method":"invoke.credit","params":{"bytes":1}}'
    [told] = Connection().receive(data + b"\n")
    assert isinstance(told, Notification)
    assert (told.method, bytes(told.params), told.size) == ("invoke.credit", b'{"bytes":1}', len(data))


@pytest.mark.parametrize("over", [0, 1])
def test_the_longest_line(over: int) -> None:
    connection = Connection(max_line=100)
    text = "x" * (100 - len(line(method="")) + 1 + over)
    data = line(method=text)
    assert len(data) - 1 == 100 + over
    if over:
        with pytest.raises(RemoteProtocolError) as caught:
            connection.receive(data)
        assert caught.value.code == "line_too_long"
        assert refusal(caught.value.reply) == (None, "invalid_request")
    else:
        assert isinstance(connection.receive(data)[0], Notification)


def test_what_came_before_an_oversized_line_is_given_first() -> None:
    connection = Connection(max_line=100)
    [request] = connection.receive(REQUEST + b"\n" + b"x" * 101)
    assert isinstance(request, Request)
    assert connection.more
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="line_too_long"):
            connection.receive(b"")


def test_a_line_without_end_is_not_collected() -> None:
    connection = Connection(max_line=1000)
    connection.receive(b"x" * 999)
    with pytest.raises(RemoteProtocolError, match="line_too_long"):
        connection.receive(b"xx")


def test_many_lines_come_in_portions() -> None:
    connection = Connection(lines_per_receive=10)
    events = connection.receive(b"1\n" * 25)
    counts = [len(events)]
    while connection.more:
        counts.append(len(connection.receive(b"")))
    assert counts == [10, 10, 5]


def test_the_end_inside_a_line() -> None:
    connection = Connection()
    connection.receive(REQUEST)
    with pytest.raises(RemoteProtocolError, match="cut_short"):
        connection.receive_eof()
    clean = Connection()
    clean.receive(REQUEST + b"\n")
    assert clean.receive_eof() == []


def batch(*members: Any) -> bytes:
    return json.dumps(members).encode() + b"\n"


def member(request_id: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": "m"}


def test_a_batch_is_answered_as_one_line_whatever_the_order() -> None:
    connection = Connection()
    events = connection.receive(batch(member(1), {"jsonrpc": "2.0", "method": "n"}, member("b"), 7))
    assert [type(event) for event in events] == [Request, Notification, Request, Invalid]
    assert isinstance(events[3], Invalid)
    assert events[3].reply == b""
    assert connection.result("b", 2) == b""
    answers = json.loads(connection.error(1, Refusal("busy")))
    assert {answer["id"] for answer in answers} == {1, "b", None}
    assert connection.answering == 0


def test_a_batch_of_faults_is_answered_at_once() -> None:
    events = Connection().receive(batch(1, {"jsonrpc": "2.0", "method": "n"}, 2, {"jsonrpc": "2.0", "method": "n"}))
    replies = [event.reply for event in events if isinstance(event, Invalid)]
    assert replies[0] == b""
    assert [answer["error"]["data"]["code"] for answer in json.loads(replies[1])] == ["invalid_request"] * 2


def test_a_batch_of_notifications_is_not_answered() -> None:
    events = Connection().receive(batch(*[{"jsonrpc": "2.0", "method": "n"}] * 3))
    assert all(isinstance(event, Notification) for event in events)


def test_the_same_id_twice_in_a_batch() -> None:
    connection = Connection()
    request, invalid = connection.receive(batch(member(1), member(1)))
    assert isinstance(request, Request)
    assert isinstance(invalid, Invalid)
    assert [answer["id"] for answer in json.loads(connection.result(1, {}))] == [None, 1]


@pytest.mark.parametrize(("count", "accepted"), [(64, True), (65, False), (10_000, False)])
def test_the_largest_batch(count: int, accepted: bool) -> None:
    connection = Connection()
    events = connection.receive(batch(*map(member, range(count))))
    if accepted:
        assert len(events) == count
    else:
        [invalid] = events
        assert isinstance(invalid, Invalid)
        assert refusal(invalid.reply) == (None, "invalid_request")
        assert "batch" in invalid.detail
        assert connection.answering == 0


@pytest.mark.parametrize("over", [0, 1])
def test_the_largest_batch_in_bytes(over: int) -> None:
    connection = Connection(max_batch_bytes=1000)
    data = batch({"jsonrpc": "2.0", "method": ""})[:-1]
    data = data.replace(b'""', b'"' + b"x" * (1000 - len(data) + over) + b'"')
    [event] = connection.receive(data + b"\n")
    assert isinstance(event, Invalid if over else Notification)


def test_nested_batches_are_refused() -> None:
    [invalid] = Connection().receive(batch([member(1)]))
    assert isinstance(invalid, Invalid)
    assert len(json.loads(invalid.reply)) == 1


def test_asking_and_the_answer() -> None:
    connection = Connection()
    first, data = connection.request("capability.invoke", {"a": 1})
    assert json.loads(data) == {"jsonrpc": "2.0", "id": first, "method": "capability.invoke", "params": {"a": 1}}
    second, _ = connection.request("capability.invoke", {})
    assert first != second
    [good] = connection.receive(line(id=first, result={"x": None}))
    assert isinstance(good, Response)
    assert (good.id, good.error) == (first, None)
    assert good.result is not None
    assert bytes(good.result) == b'{"x": null}'
    [bad] = connection.receive(line(id=second, error={"code": 5, "message": "no", "data": {"code": "BUSY"}}))
    assert isinstance(bad, Response)
    assert bad.result is None
    assert bad.error is not None
    assert (bad.error.code, bad.error.message, bad.error.data) == (5, "no", {"code": "BUSY"})


def test_null_is_a_result() -> None:
    connection = Connection()
    request_id, _ = connection.request("m", {})
    [answer] = connection.receive(line(id=request_id, result=None))
    assert isinstance(answer, Response)
    assert answer.result is not None


def test_answers_that_nobody_waits_for_are_never_answered() -> None:
    """Else two ends could go on refusing each other's refusals for ever."""
    connection = Connection()
    request_id, _ = connection.request("m", {})
    forgotten, _ = connection.request("m", {})
    connection.forget(forgotten)
    connection.receive(line(id=request_id, result=1))
    unattributed = json.loads(unattributed_error(Refusal("parse_error")))
    for answer in (
        line(id=request_id, result=1),
        line(id=forgotten, result=1),
        line(id="1", result=1),
        line(id=None, error=unattributed["error"]),
        unattributed_error(Refusal("parse_error")),
    ):
        [invalid] = connection.receive(answer)
        assert isinstance(invalid, Invalid)
        assert (invalid.code, invalid.reply) == ("unknown_answer", b"")


def test_answering_what_was_not_asked_is_our_own_fault() -> None:
    connection = Connection()
    with pytest.raises(LocalProtocolError):
        connection.result(1, {})
    connection.receive(REQUEST + b"\n")
    connection.result(1, {})
    with pytest.raises(LocalProtocolError):
        connection.error(1, Refusal("busy"))


def test_a_result_over_the_line_limit_becomes_an_error() -> None:
    connection = Connection(max_line=1000)
    connection.receive(REQUEST + b"\n")
    assert refusal(connection.result(1, "x" * 1000)) == (1, "too_large")


def test_a_providers_failure() -> None:
    connection = Connection()
    connection.receive(REQUEST + b"\n")
    answer = json.loads(connection.failure(1, "no more", {"code": "BUSY"}))
    assert answer["error"] == {"code": CODES["invoke_failed"].number, "message": "no more", "data": {"code": "BUSY"}}


@pytest.mark.parametrize(
    ("params", "into", "said"),
    [
        ({"room": 5}, schema.RoomParams, "$.room"),
        ({}, schema.RoomParams, "room"),
        ({"room": "r", "rom": 1}, schema.RoomParams, "rom"),
        (["r"], schema.RoomParams, "object"),
        ({"room": "r", "limit": 501}, schema.RoomHistoryParams, "$.limit"),
        ({"room": "r", "limit": 0}, schema.RoomHistoryParams, "$.limit"),
        ({"kinds": ["weather"]}, schema.SubscribeParams, "$.kinds[0]"),
        ({"name": "n", "command": {"argv": [], "cwd": "/"}}, schema.CapabilityServeParams, "$.command.argv"),
        ({"invocation": "i", "bytes": -1}, schema.InvokeCreditParams, "$.bytes"),
    ],
)
def test_params_that_do_not_fit_name_the_field(params: Any, into: type[Any], said: str) -> None:
    [request] = Connection().receive(line(id=1, method="m", params=params))
    assert isinstance(request, Request)
    refused = decode_params(request.params, into)
    assert isinstance(refused, Refusal)
    assert refused.code == "invalid_params"
    assert said in refused.message


def test_a_number_out_of_range_inside_params() -> None:
    [request] = Connection().receive(
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"peer":"p","capability":"c","input":1e999}}\n'
    )
    assert isinstance(request, Request)
    refused = decode_params(request.params, schema.InvokeParams)
    assert isinstance(refused, Refusal)
    assert refused.code == "invalid_params"


def test_a_lone_surrogate_inside_params() -> None:
    refused = decode_params(msgspec.Raw(b'{"room":"\\ud800"}'), schema.RoomParams)
    assert isinstance(refused, Refusal)
    assert refused.code == "parse_error"


# --- properties ----------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def summary(events: list[Any]) -> list[Any]:
    """Events without their Raw members, which compare by identity."""
    return [
        tuple(
            bytes(value) if hasattr(value, "copy") and type(value).__name__ == "Raw" else value
            for value in (getattr(event, name) for name in event.__slots__)
        )
        for event in events
    ]


@given(method=st.text(), params=st.dictionaries(st.text(), JSON), request_id=st.integers(0, 99) | st.text(max_size=9))
def test_what_one_end_asks_the_other_end_reads(method: str, params: dict[str, Any], request_id: Any) -> None:
    asking, answering = Connection(), Connection()
    number, data = asking.request(method, params)
    [request] = answering.receive(data)
    assert isinstance(request, Request)
    assert (request.id, request.method, json.loads(bytes(request.params))) == (number, method, params)
    [answer] = asking.receive(answering.result(number, params))
    assert isinstance(answer, Response)
    assert answer.result is not None
    assert json.loads(bytes(answer.result)) == params
    [told] = answering.receive(notification(method, params))
    assert isinstance(told, Notification)
    assert json.loads(bytes(told.params)) == params


LINES = st.lists(
    st.sampled_from(
        [REQUEST, b"", b"[]", b"{}", b"nonsense", batch(member(7), member(8))[:-1], b'{"jsonrpc":"2.0","method":"m"}']
    )
    | st.binary(max_size=40).filter(lambda data: b"\n" not in data),
    max_size=12,
)


@given(lines=LINES, cuts=st.lists(st.integers(0, 400), max_size=12))
def test_framing_does_not_matter(lines: list[bytes], cuts: list[int]) -> None:
    data = b"".join(one + b"\n" for one in lines)
    whole = summary(Connection().receive(data))
    connection, pieces, last = Connection(), [], 0
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        pieces += connection.receive(data[last:cut])
        last = cut
    assert summary(pieces) == whole


@given(data=st.binary(max_size=300))
def test_any_bytes_are_accepted_or_refused_with_a_reason(data: bytes) -> None:
    connection = Connection(max_line=200)
    codes = set()
    try:
        codes = {event.code for event in connection.receive(data) if isinstance(event, Invalid)}
    except RemoteProtocolError as error:
        codes = {error.code}
    assert codes <= {"parse_error", "invalid_request", "unknown_answer", "line_too_long"}

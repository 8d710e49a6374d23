"""Bad input at the socket: each a named refusal, and the daemon goes on."""

from __future__ import annotations

import contextlib
import json

import pytest

from tests.harness.daemon import Daemon
from tests.integration.raw import Raw, alive


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"not json", -32700),
        (b"\xff\xfe", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"node.status","params":{"x":NaN}}', -32700),
        (b"[" * 10_000 + b"]" * 10_000, -32700),
        (b'"a string"', -32600),
        (b"[]", -32600),
        (b'{"id":1,"method":"node.status"}', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"node.status"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"node.status"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"no.such"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"room.join"}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"room.join","params":{"room":7}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"room.join","params":{"room":"a","x":1}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"room.join","params":["a"]}', -32602),
        (b"[" + b",".join([b'{"jsonrpc":"2.0","id":1,"method":"node.status"}'] * 10_000) + b"]", -32600),
    ],
    ids=[
        "not JSON", "not UTF-8", "NaN", "nested 10 000 deep", "a string", "an empty batch", "no version",
        "another version", "an object as id", "a number as method", "unknown method", "no parameters",
        "wrong type", "unknown parameter", "parameters by position", "a batch of 10 000",
    ],
)  # fmt: skip
def test_each_fault_has_its_refusal(alice: Daemon, line: bytes, code: int) -> None:
    with Raw(alice) as raw:
        raw.send(line + b"\n")
        answer = raw.answer()
        if isinstance(answer, list):
            (answer,) = answer
        assert answer["error"]["code"] == code, answer
        assert answer["error"]["message"]
    alive(alice)


def test_a_line_of_10_mb_is_refused_and_the_connection_closed(alice: Daemon) -> None:
    with Raw(alice) as raw:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it need not read what it refused
            raw.send(b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * 10_000_000)
        try:
            line = raw.file.readline()
        except ConnectionResetError:
            line = b""
        assert not line or json.loads(line)["error"]["code"] == -32600
    alive(alice)


def test_a_million_tiny_lines_are_survived(alice: Daemon) -> None:
    before = alice.rss()
    with Raw(alice) as raw:
        raw.socket.settimeout(2)  # nobody reads the million refusals: the daemon stops reading
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
            for _ in range(100):
                raw.send(b"1\n" * 10_000)
        alive(alice)
    assert alice.rss() - before < 64 << 20
    alive(alice)


def test_a_batch_is_answered_as_a_batch(alice: Daemon) -> None:
    with Raw(alice) as raw:
        requests = [{"jsonrpc": "2.0", "id": n, "method": "node.status"} for n in range(3)]
        raw.send(json.dumps(requests).encode() + b"\n")
        assert sorted(answer["id"] for answer in raw.answer()) == [0, 1, 2]


def test_connections_that_never_read_do_not_hold_up_the_others(alice: Daemon) -> None:
    deaf = [Raw(alice) for _ in range(4)]
    try:
        for raw in deaf:
            raw.socket.settimeout(0.5)
            try:
                for _ in range(2000):
                    raw.send(b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}\n')
            except (TimeoutError, BrokenPipeError, ConnectionResetError):
                pass
        alive(alice)
        assert alice.rss() < 400 << 20
    finally:
        for raw in deaf:
            raw.close()


def test_half_a_request_and_gone(alice: Daemon) -> None:
    for _ in range(50):
        with Raw(alice) as raw:
            raw.send(b'{"jsonrpc":"2.0","id":1,"meth')
    alive(alice)


def test_a_provider_that_goes_away_takes_its_capability_along(alice: Daemon, bob: Daemon) -> None:
    with Raw(bob) as raw:
        assert "result" in raw.ask(id=1, method="capability.register", params={"name": "fleeting"})
        offered = alice.cli("capability", "list", bob.peer_id)["capabilities"]
        assert "fleeting" in {capability["name"] for capability in offered}
        call = alice.spawn_cli("invoke", bob.peer_id, "fleeting", "x")
        request = raw.answer()
        assert request["method"] == "capability.invoke"
        assert request["params"]["capability"] == "fleeting"
        assert request["params"]["caller"] == alice.peer_id
    assert call.wait() != 0
    assert alice.cli_error("invoke", bob.peer_id, "fleeting", "x")["code"] == "capability_unknown"


def test_a_provider_that_never_answers_ends_by_the_callers_limit(alice: Daemon, bob: Daemon) -> None:
    with Raw(bob) as raw:
        raw.ask(id=1, method="capability.register", params={"name": "silent"})
        error = alice.cli_error("invoke", bob.peer_id, "silent", "x", "--max-duration", "0.5")
        assert error["code"] == "timeout"

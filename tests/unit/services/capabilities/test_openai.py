"""A capability served by a chat endpoint: a small HTTP server here answers as each test says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from nexusd.services.capabilities.openai import MESSAGES, SSE_LINE_BYTES, OpenAi
from nexusd.services.capabilities.ports import CallFailed
from nexusd_protocols.rpc.schema import OpenAiSpec
from tests.harness.incoming import FakeIncoming

Answer = Callable[[trio.SocketStream], Awaitable[None]]


class Endpoint:
    """What was asked of the server, and how it answers."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.url = ""
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.gone = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        head, _, body = data.partition(b"\r\n\r\n")
        line, *rows = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (row.split(": ", 1) for row in rows)}
        while len(body) < int(headers["content-length"]):
            body += await stream.receive_some()
        self.requests.append((line, headers, json.loads(body)))
        try:
            await self.answer(stream)
            await stream.send_eof()
            while await stream.receive_some():
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.gone.set()


def raw(status: str, body: bytes, kind: str = "application/json") -> Answer:
    async def answer(stream: trio.SocketStream) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        await stream.send_all(head.encode() + body)

    return answer


def events(*data: str, end: str = "data: [DONE]\n\n") -> Answer:
    return raw("200 OK", "".join(f"data: {each}\n\n" for each in data).encode() + end.encode(), "text/event-stream")


def token(text: str | None) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]})


@asynccontextmanager
async def endpoint(answer: Answer) -> AsyncIterator[Endpoint]:
    async with trio.open_nursery() as nursery:
        made = Endpoint(answer)
        listeners: list[trio.SocketListener] = await nursery.start(trio.serve_tcp, made.serve, 0)  # type: ignore[arg-type] # trio types the handler as of any stream
        made.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1/"
        yield made
        nursery.cancel_scope.cancel()


async def ask(made: Endpoint, call: FakeIncoming, **spec: Any) -> None:
    with trio.fail_after(20):
        await OpenAi(OpenAiSpec(url=made.url, model="small", **spec)).call(call)


async def test_tokens_come_as_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # the daemon's environment sends nothing elsewhere
    opening = json.dumps({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
    ending = json.dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    usage = json.dumps({"choices": [], "usage": {"total_tokens": 7}})
    async with endpoint(events(opening, token("Hel"), token("lo"), token(None), ending, usage)) as made:
        call = FakeIncoming("Say ", "hello")
        await ask(made, call)
        assert call.emitted == [("token", "Hel"), ("token", "lo")]
        line, headers, body = made.requests[0]
        assert line == "POST /v1/chat/completions HTTP/1.1"
        assert "authorization" not in headers
        assert body == {"model": "small", "stream": True, "messages": [{"role": "user", "content": "Say hello"}]}


def used(tokens: Any, text: str | None = None) -> str:
    choices = [] if text is None else [{"delta": {"content": text}}]
    return json.dumps({"choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": tokens}})


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ([token("Hel"), token("lo"), used(5)], [1, 1, 3]),
        ([token("Hel"), token("lo"), used(2)], [1, 1]),
        ([token("Hel"), token("lo"), used(1)], [1, 1]),  # what was counted is counted
        ([used(2, "Hel"), used(5, "lo"), used(5)], [2, 3]),
        ([used(2, "Hel"), token("lo"), used(9)], [2, 1, 6]),
        ([token("Hel"), token("lo")], [1, 1]),
        ([token("Hel"), token("lo"), used(None)], [1, 1]),
        ([token("Hel"), used(-4)], [1]),
    ],
)
async def test_tokens_are_those_that_the_endpoint_tells_of(told: list[str], counted: list[int]) -> None:
    async with endpoint(events(*told)) as made:
        call = FakeIncoming("hi", unit="token_out")
        await ask(made, call)
        assert call.counted == counted
        assert made.requests[0][2]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("unit", ["chunk", "byte", "token_out"])
async def test_where_output_is_counted_it_comes_in_pieces_whoever_wants_it_whole(unit: str) -> None:
    async with endpoint(events(token("Hel"), token("lo"), used(7))) as made:
        calls = [FakeIncoming("hi", stream=stream, unit=unit) for stream in (True, False)]
        for call in calls:
            await ask(made, call)
        assert calls[1].emitted == calls[0].emitted == [("token", "Hel"), ("token", "lo")]
        assert calls[1].counted == calls[0].counted == [1, 1, 5]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_endpoint_that_does_not_stream_has_one_piece(stream: bool) -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": "Hello"}}], "usage": {"completion_tokens": 3}}
    async with endpoint(raw("200 OK", json.dumps(body).encode(), "application/json; charset=utf-8")) as made:
        call = FakeIncoming("hi", stream=stream, unit="token_out")
        await ask(made, call)
        assert (call.emitted, call.counted) == ([("token", "Hello")], [3])
        free = FakeIncoming("hi", stream=stream)
        await ask(made, free)
        assert free.text() == "Hello"


async def test_a_completion_is_read_to_a_limit() -> None:
    body = json.dumps({"choices": [{"message": {"content": "x" * SSE_LINE_BYTES}}]}).encode()
    async with endpoint(raw("200 OK", body)) as made:
        with pytest.raises(CallFailed, match="endless"):
            await ask(made, FakeIncoming("hi"))


async def test_who_wants_one_result_gets_it_whole() -> None:
    async with endpoint(events(token("Hel"), token("lo"))) as made:
        call = FakeIncoming("hi", stream=False)
        await ask(made, call)
        assert call.emitted == [("result", "Hello")]


async def test_tokens_come_before_the_answer_has_ended() -> None:
    more = trio.Event()

    async def answer(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        # cut anywhere, also within a character and a line's end, with comments and other fields between
        first = f": ping\r\nevent: x\r\ndata:{token('ä')}\r".encode()
        for byte in first:
            await stream.send_all(bytes([byte]))
        await stream.send_all(b"\n\r\n")
        await more.wait()
        await stream.send_all(f"data: {token('b')}\n\ndata: [DONE]\n\n".encode())

    async with endpoint(answer) as made:
        call = FakeIncoming("hi")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, made, call)
            with trio.fail_after(20):
                await call.some.wait()
            assert call.emitted == [("token", "ä")]
            more.set()
        assert call.text() == "äb"


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        ({"prompt": "hi", "temperature": 0.5, "seed": 1}, {"temperature": 0.5, "seed": 1}),
        ({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}, {"max_tokens": 9}),
        ('{"prompt": "hi"}', {}),
        ({"prompt": "hi", "model": "large", "stream": False, "tools": [1], "n": 100}, {}),
    ],
    ids=["prompt", "messages", "text of JSON", "what the caller may not choose"],
)
async def test_json_input(piece: Any, expected: dict[str, Any]) -> None:
    async with endpoint(events(token("x"))) as made:
        await ask(made, FakeIncoming(piece, input_format="application/json"))
        messages = [{"role": "user", "content": "hi"}]
        assert made.requests[0][2] == {"model": "small", "stream": True, "messages": messages, **expected}


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        ("",),
        ({},),
        ([1],),
        ({"messages": []},),
        ({"messages": [{}] * (MESSAGES + 1)},),
        ({"prompt": 7},),
        ({"prompt": "a"}, {"prompt": "b"}),
        ("{",),
    ],
    ids=str,
)
async def test_input_that_makes_no_request_asks_nobody(pieces: tuple[Any, ...]) -> None:
    form = "application/json" if pieces == ("{",) else "text/plain"
    async with endpoint(events()) as made:
        with pytest.raises(CallFailed, match="BAD_REQUEST"):
            await ask(made, FakeIncoming(*pieces, input_format=form))
        assert made.requests == []


async def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_CHAT_KEY", "secret")
    async with endpoint(events(token("x"))) as made:
        await ask(made, FakeIncoming("hi"), api_key_env="TEST_CHAT_KEY")
        assert made.requests[0][1]["authorization"] == "Bearer secret"
        monkeypatch.delenv("TEST_CHAT_KEY")
        with pytest.raises(CallFailed, match="not set") as caught:
            await ask(made, FakeIncoming("hi"), api_key_env="TEST_CHAT_KEY")
        assert "TEST_CHAT_KEY" not in str(caught.value)
        assert len(made.requests) == 1


def failures() -> dict[str, tuple[Answer, str]]:
    async def torn(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\ndata: {")

    async def nonsense(stream: trio.SocketStream) -> None:
        await stream.send_all(b"what?\r\n\r\n")

    async def endless(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: ")
        for _ in range(SSE_LINE_BYTES // 65536 + 2):
            await stream.send_all(b"x" * 65536)

    explained = json.dumps({"error": {"message": "no such model"}}).encode()
    return {
        "explained": (raw("404 Not Found", explained), "answered 404: no such model"),
        "unexplained": (raw("500 Oops", b"<html>"), "answered 500"),
        "redirect": (raw("302 Found", b""), "answered 302"),
        "not a completion": (events("nonsense"), "not a completion"),
        "deep": (events("[" * 100_000), "not a completion"),
        "error in the stream": (events(token("a"), '{"error": {"message": "overloaded"}}'), "reported an error"),
        "torn": (torn, "did not answer"),
        "not HTTP": (nonsense, "did not answer"),
        "endless line": (endless, "endless line"),
    }


@pytest.mark.parametrize("name", failures())
async def test_an_endpoint_that_fails(name: str) -> None:
    answer, words = failures()[name]
    async with endpoint(answer) as made:
        with pytest.raises(CallFailed) as caught:
            await ask(made, FakeIncoming("hi"))
        assert caught.value.code == "UPSTREAM_FAILED"
        assert words in caught.value.message
        assert "127.0.0.1" not in caught.value.message  # where it is, is nobody's business


async def test_nobody_listens() -> None:
    async with endpoint(events()) as made:
        made.url = "http://127.0.0.1:1/v1"
        with pytest.raises(CallFailed, match="UPSTREAM_FAILED"):
            await ask(made, FakeIncoming("hi"))


async def test_cancelling_the_call_drops_the_request() -> None:
    async def endless(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            await stream.send_all(f"data: {token('x')}\n\n".encode())

    async with endpoint(endless) as made:
        call = FakeIncoming("hi", max_output_bytes=1 << 40)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, made, call)
            await call.some.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(10):
            await made.gone.wait()


async def test_output_past_the_callers_limit_ends_the_request() -> None:
    async with endpoint(events(*[token("x" * 100)] * 100)) as made:
        with pytest.raises(CallFailed, match="OUTPUT_TOO_LARGE"):
            await ask(made, FakeIncoming("hi", max_output_bytes=1000))

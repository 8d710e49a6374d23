"""A capability that forwards to an OpenAI-compatible chat endpoint, here a small server of our own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.harness.daemon import Daemon

TOKENS = ["Hel", "lo, ", "wörld", "!"]


class ChatHandler(BaseHTTPRequestHandler):
    """POST /v1/chat/completions, streamed as server-sent events."""

    protocol_version = "HTTP/1.1"
    server: ChatServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, dict(self.headers), body))
        if self.server.status != 200:
            answer = json.dumps({"error": {"message": "the model is on strike"}}).encode()
            self.send_response(self.server.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for token in TOKENS:
            self.event(json.dumps({"choices": [{"index": 0, "delta": {"content": token}}]}))
        self.event(json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, data: str) -> None:
        # comment lines and both kinds of line end are legal
        chunk = f": keep-alive\r\n\r\ndata: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' name
        pass


class ChatServer(ThreadingHTTPServer):
    """Remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def serving(bob: Daemon, chat: ChatServer) -> Iterator[ChatServer]:
    bob.cli("capability", "serve", "chat", "--openai", chat.url, "--model", "small-1")
    yield chat
    bob.cli("capability", "remove", "chat")


def test_tokens_are_streamed(alice: Daemon, bob: Daemon, serving: ChatServer) -> None:
    items = alice.cli_lines("invoke", bob.peer_id, "chat", "say hello", "--stream")
    assert [item["data"] for item in items if item.get("event") == "token"] == TOKENS
    ((path, _, body),) = serving.requests
    assert path == "/v1/chat/completions"
    assert body["model"] == "small-1"
    assert body["stream"] is True
    assert body["messages"] == [{"role": "user", "content": "say hello"}]


def test_unary_gives_the_whole_text(alice: Daemon, bob: Daemon, serving: ChatServer) -> None:
    assert "Hello, wörld!" in json.dumps(alice.cli("invoke", bob.peer_id, "chat", "x"), ensure_ascii=False)


def test_its_error_is_the_calls_error(alice: Daemon, bob: Daemon, serving: ChatServer) -> None:
    serving.status = 503
    error = alice.cli_error("invoke", bob.peer_id, "chat", "x")
    assert error["code"] == "invoke_failed"
    assert "503" in error["message"] or "strike" in error["message"]

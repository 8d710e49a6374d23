"""A capability served by an OpenAI-compatible chat endpoint: tokens become `token` events as they arrive.

The input is text (one user message), or JSON: {"messages": […]} as the endpoint takes them, or {"prompt": "…"}, with
`temperature`, `max_tokens`, `top_p`, `stop`, `seed` and `response_format` passed along. The model is the provider's
choice, never the caller's.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from nexusd.services.capabilities.ports import CallFailed, Incoming
from nexusd_protocols import limits, ndjson
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.rpc.schema import OpenAiSpec

if TYPE_CHECKING:
    import httpx

SSE_LINE_BYTES: Final = 1 * limits.MIB
CONNECT_S: Final = 10.0
BETWEEN_TOKENS_S: Final = 300.0
"""A model on a small machine may think for minutes; the call's own deadline is the real bound."""
PASSED_ALONG: Final = ("temperature", "max_tokens", "top_p", "stop", "seed", "response_format")
MESSAGES: Final = 1024


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta | None = None
    message: _Delta | None = None


class _Chunk(msgspec.Struct, frozen=True):
    choices: list[_Choice] = []
    error: Any = None


_chunk: Final = msgspec.json.Decoder(_Chunk)


class OpenAi:
    """Provider of one chat capability."""

    def __init__(self, spec: OpenAiSpec) -> None:
        self._spec = spec

    async def call(self, incoming: Incoming) -> None:
        """One chat completion. Raises CallFailed with BAD_REQUEST or UPSTREAM_FAILED."""
        import httpx  # 0.1 s of the start, for what few daemons do

        body = {**_request(await _whole_input(incoming)), "model": self._spec.model, "stream": True}
        url = self._spec.url.rstrip("/") + "/chat/completions"
        timeout = httpx.Timeout(BETWEEN_TOKENS_S, connect=CONNECT_S)
        parts: list[str] = []
        try:
            async with (
                httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False) as client,
                client.stream("POST", url, json=body, headers=self._headers()) as response,
            ):
                if response.status_code != 200:
                    raise CallFailed("UPSTREAM_FAILED", await _explain(response))
                async with aclosing(_tokens(response)) as tokens:
                    async for token in tokens:
                        if incoming.output_mode == "stream":
                            await incoming.emit("token", token)
                        else:
                            parts.append(token)
        except httpx.HTTPError as error:
            # the endpoint's address is the provider's own affair
            raise CallFailed("UPSTREAM_FAILED", f"the chat endpoint did not answer: {type(error).__name__}") from error
        if incoming.output_mode != "stream":
            await incoming.emit("result", "".join(parts))

    def _headers(self) -> dict[str, str]:
        if self._spec.api_key_env is None:
            return {}
        key = os.environ.get(self._spec.api_key_env)
        if not key:
            raise CallFailed("UPSTREAM_FAILED", "the provider's key for the chat endpoint is not set")
        return {"Authorization": f"Bearer {key}"}


async def _whole_input(incoming: Incoming) -> Any:
    pieces: list[Any] = []
    while (piece := await incoming.receive()) is not None:
        data, final = piece
        if data is not msgspec.UNSET:
            pieces.append(data)
        if final:
            break
    if all(isinstance(piece, str) for piece in pieces):
        text = "".join(pieces)
        if incoming.input_format != "application/json":
            return text
        try:
            return ndjson.value(text.encode())
        except ValueError as error:
            raise CallFailed("BAD_REQUEST", "the input is not JSON") from error
    if len(pieces) != 1:
        raise CallFailed("BAD_REQUEST", "JSON input comes in one piece")
    return pieces[0]


def _request(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = {"prompt": value}
    if not isinstance(value, dict):
        raise CallFailed("BAD_REQUEST", "the input is text, or an object with messages or prompt")
    request = {name: value[name] for name in PASSED_ALONG if name in value}
    match value:
        case {"messages": list(messages)} if 0 < len(messages) <= MESSAGES:
            request["messages"] = messages
        case {"prompt": str(prompt)} if prompt:
            request["messages"] = [{"role": "user", "content": prompt}]
        case _:
            raise CallFailed("BAD_REQUEST", "the input is text, or an object with messages or prompt")
    return request


async def _tokens(response: httpx.Response) -> AsyncGenerator[str, None]:
    """The text of a stream of server-sent events (`data: {…}` lines, ended by `data: [DONE]`)."""
    async with aclosing(_lines(response)) as lines:
        async for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            if text := _text(data):
                yield text


def _text(data: bytes) -> str:
    try:
        chunk = ndjson.decode(data, _chunk)
    except RemoteProtocolError as error:
        raise CallFailed("UPSTREAM_FAILED", "the chat endpoint sent what is not a completion") from error
    if chunk.error is not None:
        raise CallFailed("UPSTREAM_FAILED", "the chat endpoint reported an error")
    said = (chunk.choices[0].delta or chunk.choices[0].message) if chunk.choices else None
    return (said.content or "") if said is not None else ""


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    buffer = bytearray()
    async with _body(response) as pieces:
        async for data in pieces:
            buffer += data
            *lines, rest = buffer.split(b"\n")
            buffer = bytearray(rest)
            for line in lines:
                yield bytes(line).strip()
            if len(buffer) > SSE_LINE_BYTES:
                raise CallFailed("UPSTREAM_FAILED", "the chat endpoint sent an endless line")
    yield bytes(buffer).strip()


@asynccontextmanager
async def _body(response: httpx.Response) -> AsyncIterator[AsyncIterator[bytes]]:
    """The body in pieces. httpx's iterators lie in one another, and closing the outer leaves the inner ones to the
    garbage collector; reading on from the closed response ends them all."""
    pieces = response.aiter_bytes()
    try:
        yield pieces
    finally:
        await response.aclose()
        with suppress(Exception):
            async for _ in pieces:
                pass


async def _explain(response: httpx.Response) -> str:
    body = b""
    async with _body(response) as pieces:
        async for data in pieces:
            body += data
            if len(body) > 4 * limits.KIB:
                break
    try:
        words = str(ndjson.value(body)["error"]["message"])[:512]
    except (ValueError, KeyError, TypeError):
        words = ""
    status = f"the chat endpoint answered {response.status_code}"
    return f"{status}: {words}" if words else status

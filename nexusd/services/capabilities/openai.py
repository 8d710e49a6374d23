"""A capability served by an OpenAI-compatible chat endpoint: tokens become `token` events as they arrive.

The input is text (one user message), or JSON: {"messages": […]} as the endpoint takes them, or {"prompt": "…"}, with
`temperature`, `max_tokens`, `top_p`, `stop`, `seed` and `response_format` passed along. The model is the provider's
choice, never the caller's.

Where the price is for tokens, the endpoint is asked how many it made. Some say so with each piece, most at the end; of
one that never does each piece counts as one, which is the least that it can have been.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from nexusd.services.capabilities.ports import CallFailed, Incoming, as_it_comes
from nexusd_protocols import limits, ndjson
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.rpc.schema import OpenAiSpec

if TYPE_CHECKING:
    import httpx

log = structlog.get_logger(__name__)

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


class _Usage(msgspec.Struct, frozen=True):
    completion_tokens: int | None = None


class _Chunk(msgspec.Struct, frozen=True):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None

    @property
    def text(self) -> str:
        said = (self.choices[0].delta or self.choices[0].message) if self.choices else None
        return (said.content or "") if said is not None else ""

    @property
    def tokens(self) -> int | None:
        """Made until now, if it says so."""
        made = None if self.usage is None else self.usage.completion_tokens
        return None if made is None else max(0, made)


_chunk: Final = msgspec.json.Decoder(_Chunk)


class OpenAi:
    """Provider of one chat capability."""

    def __init__(self, spec: OpenAiSpec) -> None:
        self._spec = spec

    async def call(self, incoming: Incoming) -> None:
        """One chat completion. Raises CallFailed with BAD_REQUEST or UPSTREAM_FAILED."""
        import httpx  # 0.1 s of the start, for what few daemons do

        body = {**_request(await _whole_input(incoming)), "model": self._spec.model, "stream": True}
        if incoming.unit == "token_out":
            body["stream_options"] = {"include_usage": True}
        url = self._spec.url.rstrip("/") + "/chat/completions"
        timeout = httpx.Timeout(BETWEEN_TOKENS_S, connect=CONNECT_S)
        output = _Output(incoming)
        try:
            async with (
                httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False) as client,
                client.stream("POST", url, json=body, headers=self._headers()) as response,
            ):
                if response.status_code != 200:
                    raise CallFailed("UPSTREAM_FAILED", await _explain(response))
                async with aclosing(_chunks(response)) as chunks:
                    async for chunk in chunks:
                        await output.add(chunk)
        except httpx.HTTPError as error:
            # the endpoint's address is the provider's own affair
            raise CallFailed("UPSTREAM_FAILED", f"the chat endpoint did not answer: {type(error).__name__}") from error
        await output.end()

    def _headers(self) -> dict[str, str]:
        if self._spec.api_key_env is None:
            return {}
        key = os.environ.get(self._spec.api_key_env)
        if not key:
            raise CallFailed("UPSTREAM_FAILED", "the provider's key for the chat endpoint is not set")
        return {"Authorization": f"Bearer {key}"}


class _Output:
    """The text as it goes on, and the tokens that it counts."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._whole = not as_it_comes(incoming)
        self._parts: list[str] = []
        self._pieces = 0
        self._counted = 0
        self._told: int | None = None

    async def add(self, chunk: _Chunk) -> None:
        """The next of a stream."""
        if chunk.tokens is not None:
            self._told = chunk.tokens
        text = chunk.text
        if not text:
            return
        self._pieces += 1
        if self._whole:
            self._parts.append(text)
            return
        units = 1 if chunk.tokens is None else max(0, chunk.tokens - self._counted)
        self._counted += units
        await self._incoming.emit("token", text, units)

    async def end(self) -> None:
        """All of it came."""
        tokens = self._pieces if self._told is None else self._told
        if self._told is None and self._incoming.unit == "token_out":
            log.info("tokens_not_told", capability=self._incoming.capability, counted=tokens)
        if self._whole:
            await self._incoming.emit("result", "".join(self._parts), tokens)
        elif tokens > self._counted:
            await self._incoming.count(tokens - self._counted)


def unfit(pieces: Sequence[Any], input_format: str) -> str:
    """What is wrong with an input, if anything is."""
    try:
        _request(_value(pieces, input_format))
    except CallFailed as failed:
        return failed.message
    return ""


async def _whole_input(incoming: Incoming) -> Any:
    pieces: list[Any] = []
    while (piece := await incoming.receive()) is not None:
        data, final = piece
        if data is not msgspec.UNSET:
            pieces.append(data)
        if final:
            break
    return _value(pieces, incoming.input_format)


def _value(pieces: Sequence[Any], input_format: str) -> Any:
    """Of which these are the pieces."""
    if all(isinstance(piece, str) for piece in pieces):
        text = "".join(pieces)
        if input_format != "application/json":
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


async def _chunks(response: httpx.Response) -> AsyncGenerator[_Chunk, None]:
    """Of a stream of server-sent events (`data: {…}` lines, ended by `data: [DONE]`), or the one of an endpoint that
    does not stream."""
    if response.headers.get("content-type", "").startswith("application/json"):
        body = await _beginning(response, SSE_LINE_BYTES)
        if len(body) > SSE_LINE_BYTES:
            raise CallFailed("UPSTREAM_FAILED", "the chat endpoint sent an endless completion")
        yield _read(body)
        return
    async with aclosing(_lines(response)) as lines:
        async for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            yield _read(data)


def _read(data: bytes) -> _Chunk:
    try:
        chunk = ndjson.decode(data, _chunk)
    except RemoteProtocolError as error:
        raise CallFailed("UPSTREAM_FAILED", "the chat endpoint sent what is not a completion") from error
    if chunk.error is not None:
        raise CallFailed("UPSTREAM_FAILED", "the chat endpoint reported an error")
    return chunk


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


async def _beginning(response: httpx.Response, size: int) -> bytes:
    """The body; of one that is longer than that, a little more than its beginning."""
    body = bytearray()
    async with _body(response) as pieces:
        async for data in pieces:
            body += data
            if len(body) > size:
                break
    return bytes(body)


async def _explain(response: httpx.Response) -> str:
    try:
        words = str(ndjson.value(await _beginning(response, 4 * limits.KIB))["error"]["message"])[:512]
    except (ValueError, KeyError, TypeError):
        words = ""
    status = f"the chat endpoint answered {response.status_code}"
    return f"{status}: {words}" if words else status

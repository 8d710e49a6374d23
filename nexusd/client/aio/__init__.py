"""The asynchronous client, under Trio and asyncio alike (anyio). The same words as `nexusd.client.sync`.

async with AsyncNexus.connect() as nexus:
    await nexus.rooms.send("general", "hello")
    async with nexus.stream("12D3KooW…", "count", {"to": 5}) as call:
        async for event in call:
            print(event.data)
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskStatus

from nexusd.client import asks
from nexusd.client.aio.events import EventStream
from nexusd.client.aio.link import Links
from nexusd.client.aio.serving import Handler, Server
from nexusd.client.aio.stream import CallStream
from nexusd.client.asks import Ask
from nexusd.client.exchange import Feed, Params
from nexusd.client.finding import find_socket
from nexusd.client.invocation import invoke_params, kept
from nexusd_protocols import limits
from nexusd_protocols.invoke.output import Pieces
from nexusd_protocols.rpc import schema

P = ParamSpec("P")
R = TypeVar("R")


class _Asking:
    async def ask(self, ask: Ask[R]) -> R:
        """Carry a request."""
        raise NotImplementedError  # a subclass says


def _does(build: Callable[P, Ask[R]]) -> Callable[Concatenate[_Asking, P], Awaitable[R]]:
    """A method that asks what `build` builds."""

    async def method(self: _Asking, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.ask(build(*args, **kwargs))

    method.__doc__ = build.__doc__
    method.__name__ = build.__name__
    return method


class _Part(_Asking):
    def __init__(self, nexus: AsyncNexus) -> None:
        self._nexus = nexus

    async def ask(self, ask: Ask[R]) -> R:
        """Carry a request."""
        return await self._nexus.ask(ask)


class Peers(_Part):
    """`nexus.peers`"""

    list = _does(asks.peers_list)
    connect = _does(asks.peers_connect)
    block = _does(asks.peers_block)
    unblock = _does(asks.peers_unblock)
    ban = _does(asks.peers_ban)
    unban = _does(asks.peers_unban)


class Profile(_Part):
    """`nexus.profile`"""

    get = _does(asks.profile_get)
    set = _does(asks.profile_set)


class Rooms(_Part):
    """`nexus.rooms`"""

    join = _does(asks.room_join)
    leave = _does(asks.room_leave)
    list = _does(asks.room_list)
    send = _does(asks.room_send)
    history = _does(asks.room_history)
    members = _does(asks.room_members)


class Inbox(_Part):
    """`nexus.inbox`: direct messages"""

    send = _does(asks.dm_send)
    list = _does(asks.dm_list)


class Capabilities(_Part):
    """`nexus.capabilities`"""

    list = _does(asks.capability_list)
    remove = _does(asks.capability_remove)
    serve_command = _does(asks.capability_command)


class AsyncNexus(_Asking):
    """A client of one daemon. Use it in `async with`; many tasks may use it at once."""

    def __init__(self, find: Callable[[], Path], timeout: float | None) -> None:
        self._find = find
        self._timeout = timeout
        self._links: Links | None = None
        self.peers = Peers(self)
        self.profile = Profile(self)
        self.rooms = Rooms(self)
        self.inbox = Inbox(self)
        self.capabilities = Capabilities(self)

    @classmethod
    def connect(
        cls,
        name: str | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        socket: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
    ) -> AsyncNexus:
        """A client of the daemon meant (see `nexusd.client.finding`), found on entering. `timeout`: seconds that a
        request may take; without it, the time that it takes."""
        return cls(partial(find_socket, name, data_dir) if socket is None else partial(Path, socket), timeout)

    status = _does(asks.status)
    shutdown = _does(asks.shutdown)
    config = _does(asks.config)
    discover = _does(asks.discover)

    async def ask(self, ask: Ask[R]) -> R:
        """Carry a request. Raises NexusError."""
        result: R = await self.call(ask.method, ask.params)
        return result

    async def call(self, method: str, params: Params = None, *, timeout: float | None = None) -> Any:
        """Any method of `nexusd_protocols.rpc.schema`, with its struct or a mapping of wire names as parameters; gives
        the result struct. `timeout` replaces the client's. Raises NexusError."""
        with self._open_links.one() as link:
            return await link.call(method, params, timeout=self._timeout if timeout is None else timeout)

    def events(
        self,
        *,
        cursor: int | None = None,
        kinds: Sequence[schema.EventKind] | None = None,
        room: str | None = None,
        peer: str | None = None,
        patience: float = 30.0,
    ) -> EventStream:
        """Events as they happen, behind `cursor` if one is given: an asynchronous iterator, best held in `async with`.
        Reconnects by itself and continues where it was, so that nothing stored is missed; gives up once the daemon was
        away for `patience` seconds. Raises NexusError."""
        return EventStream(self._open_links, Feed(cursor, kinds, room, peer), patience)

    def stream(
        self,
        peer: str,
        capability: str,
        input: Any = msgspec.UNSET,  # noqa: A002 - the field's name on the wire
        *,
        pieces: AsyncIterable[Any] | Iterable[Any] | None = None,
        stream: bool = True,
        input_format: str | None = None,
        max_duration_ms: int = limits.INVOKE_MAX_DURATION_MS,
        max_input_bytes: int | None = None,
        max_output_bytes: int = limits.INVOKE_MAX_OUTPUT_BYTES,
        max_price: str | None = None,
        tab: bool = False,
        id: str | None = None,  # noqa: A002 - the field's name on the wire
        again: str | None = None,
        anyway: bool = False,
        agent: str | None = None,
    ) -> CallStream:
        """Call a capability, on entering the result with `async with`, and iterate over its output as it comes. `input`
        is the whole input; `pieces` are sent one by one, as the provider takes them. `max_price` is what it may
        cost, in whole tokens ("0.10"); without it nothing is paid; with `tab` it is paid as it comes. A call made twice
        under one `id` is paid for once; `again` is the id of one that must have been. Raises NexusError."""
        params, split = invoke_params(
            peer,
            capability,
            input,
            pieces_follow=pieces is not None,
            stream=stream,
            input_format=input_format,
            max_duration_ms=max_duration_ms,
            max_input_bytes=max_input_bytes,
            max_output_bytes=max_output_bytes,
            max_price=max_price,
            tab=tab,
            id=id,
            again=again,
            anyway=anyway,
            agent=agent,
        )
        return CallStream(self._open_links, params, pieces if split is None else split, timeout=self._timeout)

    async def invoke(
        self,
        peer: str,
        capability: str,
        input: Any = msgspec.UNSET,  # noqa: A002 - the field's name on the wire
        **options: Any,
    ) -> Any:
        """Call a capability and return its value; `options` are those of `stream`. Raises NexusError, with what came of
        a call that may have been paid for as `data["output"]`."""
        output = Pieces()
        with kept(output, paid=options.get("max_price") is not None):
            async with self.stream(peer, capability, input, **{"stream": False, **options}) as call:
                async for event in call:
                    if event.event != "progress":
                        output.add(event.data)
        return output.value()

    async def serve(
        self,
        name: str,
        handler: Handler,
        *,
        description: str = "",
        max_concurrent: int = 4,
        timeout_ms: int = 600_000,
        max_input_bytes: int = limits.MIB,
        streaming: bool = True,
        prices: Sequence[schema.PriceSpec] = (),
        agent: str | None = None,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve a capability until cancelled. `handler(call)` runs in a task of its own for each call, with a
        `nexusd.client.aio.serving.Call`; what it returns (or yields, piece by piece) is the output. `prices` is
        what a call costs, one of them as the caller likes. Started, through a task group's `start`, once others can
        call. Raises NexusError."""
        params = schema.CapabilityRegisterParams(
            name=name,
            description=description,
            max_concurrent=max_concurrent,
            timeout_ms=timeout_ms,
            max_input_bytes=max_input_bytes,
            streaming=streaming,
            prices=list(prices),
            agent=agent,
        )
        link = self._open_links.take()
        try:
            await link.call("capability.register", params, timeout=self._timeout)
            task_status.started()
            await Server(link, handler, max_concurrent).run()
        finally:
            self._open_links.drop(link)

    @property
    def _open_links(self) -> Links:
        if self._links is None:
            raise RuntimeError("use the client in `async with`")
        return self._links

    async def __aenter__(self) -> Self:
        self._links = Links(await anyio.to_thread.run_sync(self._find))
        with self._links.one():
            return self  # somebody answers

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._links is not None:
            self._links.close()

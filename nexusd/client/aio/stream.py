"""A call under way, for asynchronous programs."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from types import TracebackType
from typing import Any, Self

import anyio
import msgspec
from anyio.abc import TaskGroup

from nexusd.client.aio.closing import closing_after
from nexusd.client.aio.link import Link, Links
from nexusd.client.invocation import CallerSide, failure_of
from nexusd_protocols.rpc import schema


class CallStream:
    """`async with` makes the call; iterate over its output inside. Leaving early cancels it. After the last piece `end`
    says how it went; an end that is not well is raised as NexusError."""

    def __init__(
        self,
        links: Links,
        params: schema.InvokeParams,
        pieces: AsyncIterable[Any] | Iterable[Any] | None,
        timeout: float | None,
    ) -> None:
        self._links = links
        self._params = params
        self._pieces = pieces
        self._timeout = timeout
        self._link: Link | None = None
        self._side: CallerSide | None = None
        self._feeders: TaskGroup | None = None
        self._changed = anyio.Event()
        self._input_error: Exception | None = None
        self.end: schema.InvokeEnd | None = None

    @property
    def invocation(self) -> str:
        """The id of the call."""
        return self._begun[1].invocation

    @property
    def _begun(self) -> tuple[Link, CallerSide]:
        if self._link is None or self._side is None:
            raise RuntimeError("a call is used inside its `async with`")
        return self._link, self._side

    async def __aenter__(self) -> Self:
        link = self._links.take()
        try:
            begun: schema.Invocation = await link.call("capability.invoke", self._params, timeout=self._timeout)
        except BaseException as error:
            self._links.failed(link, error)
            raise
        self._link, self._side = link, CallerSide(begun, self._params.credit)
        if self._pieces is not None:
            self._feeders = anyio.create_task_group()
            await self._feeders.__aenter__()
            self._feeders.start_soon(self._feed, self._pieces)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._feeders is not None:
                self._feeders.cancel_scope.cancel()
                # without the exception: it is the caller's, and is not to be wrapped in a group
                await self._feeders.__aexit__(None, None, None)
        finally:
            link, self._link = self._link, None
            if link is not None:
                (self._links.drop if self.end is None else self._links.give_back)(link)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> schema.InvokeEvent:
        if self.end is not None:
            raise StopAsyncIteration
        link, side = self._begun
        while True:
            event = await link.read()
            item = side.take(event)
            self._changed.set()
            self._changed = anyio.Event()
            if isinstance(item, schema.InvokeEvent):
                await link.write(side.consumed(event))
                return item
            if item is not None:
                self.end = item
                if self._input_error is not None:
                    raise self._input_error
                if (error := failure_of(item)) is not None:
                    raise error
                raise StopAsyncIteration

    async def cancel(self, reason: str = "cancelled") -> None:
        """Give the call up; its end still comes to whoever iterates."""
        link, side = self._begun
        await link.write(side.cancel(reason))

    async def _feed(self, pieces: AsyncIterable[Any] | Iterable[Any]) -> None:
        """Send input as credit allows."""
        try:
            if isinstance(pieces, AsyncIterable):
                async with closing_after(pieces) as following:
                    async for piece in following:
                        await self._send(piece, final=False)
            else:
                for piece in pieces:
                    await self._send(piece, final=False)
            await self._send(msgspec.UNSET, final=True)
        except Exception as error:
            self._input_error = error  # raised to whoever iterates
            await self.cancel("the input failed")

    async def _send(self, piece: Any, *, final: bool) -> None:
        link, side = self._begun
        while not side.may_send:
            await self._changed.wait()
        await link.write(side.input(piece, final=final))

"""The event feed as an asynchronous iterator that outlives its connections."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import anyio

from nexusd.client.aio.link import Link, Links
from nexusd.client.errors import NexusError
from nexusd.client.exchange import Absence, Feed
from nexusd_protocols.rpc.schema import NodeEvent


class EventStream:
    """Entering it with `async with` subscribes; iterate over it inside. Without, the first step subscribes, and
    `aclose` ends the subscription."""

    def __init__(self, links: Links, feed: Feed, patience: float) -> None:
        self._links = links
        self._feed = feed
        self._absence = Absence(patience)
        self._link: Link | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> NodeEvent:
        while True:
            try:
                event = await self._next()
            except NexusError as error:
                await self.aclose()
                if not self._absence.bears(error, anyio.current_time()) or self._links.closed:
                    raise
            except BaseException:
                await self.aclose()  # what was read and not handed out is read again from the cursor
                raise
            else:
                if event is not None:
                    self._absence.over()
                    return event
                await self.aclose()
            await anyio.sleep(self._absence.next_pause())

    async def _next(self) -> NodeEvent | None:
        """The next event; None where the daemon ended the subscription."""
        link = await self._subscribe()
        while not self._feed.cut:
            if (event := self._feed.take(await link.read())) is not None:
                return event
        return None

    async def _subscribe(self) -> Link:
        if self._link is not None:
            return self._link
        link = self._link = self._links.take()
        try:
            self._feed.begun(await link.call("node.subscribe", self._feed.params))
        except BaseException:
            await self.aclose()
            raise
        return link

    async def aclose(self) -> None:
        """End the subscription; iterating again continues it."""
        link, self._link = self._link, None
        if link is not None:
            self._links.drop(link)

    async def __aenter__(self) -> Self:
        await self._subscribe()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

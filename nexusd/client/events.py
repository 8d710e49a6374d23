"""The event feed as an iterator that outlives its connections."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from nexusd.client.errors import NexusError
from nexusd.client.exchange import Absence, Feed
from nexusd.client.link import Link, Links
from nexusd_protocols.rpc.schema import NodeEvent


class EventStream:
    """Subscribed from the moment it is made; `close` it, or hold it in `with`, to end the subscription."""

    def __init__(self, links: Links, feed: Feed, patience: float) -> None:
        self._links = links
        self._feed = feed
        self._absence = Absence(patience)
        self._link: Link | None = None
        self._subscribe()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> NodeEvent:
        while True:
            try:
                event = self._next()
            except NexusError as error:
                self.close()
                if not self._absence.bears(error, time.monotonic()) or self._links.closed:
                    raise
            else:
                if event is not None:
                    self._absence.over()
                    return event
                self.close()
            time.sleep(self._absence.next_pause())

    def _next(self) -> NodeEvent | None:
        """The next event; None where the daemon ended the subscription."""
        link = self._subscribe()
        while not self._feed.cut:
            if (event := self._feed.take(link.read())) is not None:
                return event
        return None

    def _subscribe(self) -> Link:
        if self._link is not None:
            return self._link
        link = self._link = self._links.take()
        try:
            self._feed.begun(link.call("node.subscribe", self._feed.params))
            link.set_timeout(None)
        except BaseException:
            self.close()
            raise
        return link

    def close(self) -> None:
        """End the subscription; iterating again continues it."""
        link, self._link = self._link, None
        if link is not None:
            self._links.drop(link)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

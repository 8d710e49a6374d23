"""The event feed as an iterator that outlives its connections."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from nexusd.client.errors import NexusError
from nexusd.client.exchange import AWAY, FIRST_RETRY_S, LONGEST_RETRY_S, Feed
from nexusd.client.link import Link, Links
from nexusd_protocols.rpc.schema import NodeEvent


class EventStream:
    """Subscribed from the moment it is made; `close` it, or hold it in `with`, to end the subscription."""

    def __init__(self, links: Links, feed: Feed, patience: float) -> None:
        self._links = links
        self._feed = feed
        self._patience = patience
        self._link: Link | None = None
        self._gone_since: float | None = None
        self._pause = FIRST_RETRY_S
        self._subscribe()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> NodeEvent:
        while True:
            try:
                event = self._next()
            except NexusError as error:
                self.close()
                now = time.monotonic()
                self._gone_since = now if self._gone_since is None else self._gone_since
                away = now + self._pause - self._gone_since
                if error.code not in AWAY or self._links.closed or away > self._patience:
                    raise
            else:
                if event is not None:
                    self._gone_since, self._pause = None, FIRST_RETRY_S
                    return event
                self.close()
            time.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_RETRY_S)

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

"""A call under way, for synchronous programs."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

import msgspec

from nexusd.client.invocation import CallerSide, failure_of
from nexusd.client.link import Link, Links
from nexusd_protocols.rpc import schema


class CallStream:
    """A call under way: iterate over its output, in `with`. Leaving early cancels it. After the last piece `end` says
    how it went; an end that is not well is raised as NexusError."""

    def __init__(self, links: Links, link: Link, side: CallerSide, pieces: Iterable[Any] | None) -> None:
        self._links = links
        self._link = link
        self._side = side
        self._changed = threading.Condition()
        self._released = False
        self._input_error: BaseException | None = None
        self.invocation = side.invocation
        self.end: schema.InvokeEnd | None = None
        self._feeder: threading.Thread | None = None
        if pieces is not None:
            self._feeder = threading.Thread(target=self._feed, args=(iter(pieces),), daemon=True)
            self._feeder.start()

    def __iter__(self) -> Iterator[schema.InvokeEvent]:
        return self

    def __next__(self) -> schema.InvokeEvent:
        if self.end is not None or self._released:
            raise StopIteration
        while True:
            try:
                event = self._link.read()
            except BaseException:
                self.close()
                raise
            with self._changed:
                item = self._side.take(event)
                self._changed.notify_all()
            if isinstance(item, schema.InvokeEvent):
                self._link.write(self._side.consumed(event))
                return item
            if item is not None:
                self._finish(item)
                raise StopIteration

    def cancel(self, reason: str = "cancelled") -> None:
        """Give the call up, from any thread; its end still comes to whoever iterates."""
        self._link.write(self._side.cancel(reason))

    def close(self) -> None:
        """Leave the call. The daemon cancels it, unless it has ended."""
        if not self._released:
            self._release(keep=False)

    def _finish(self, end: schema.InvokeEnd) -> None:
        self.end = end
        self._release(keep=self._feeder is None)
        if self._input_error is not None:
            raise self._input_error
        if (error := failure_of(end)) is not None:
            raise error

    def _release(self, *, keep: bool) -> None:
        with self._changed:
            self._released = True
            self._changed.notify_all()
        if keep:
            self._links.give_back(self._link)
        else:
            self._links.drop(self._link)

    def _feed(self, pieces: Iterator[Any]) -> None:
        """Send input as credit allows; the thread ends with the input, or with the call."""
        try:
            for piece in pieces:
                if not self._send(piece, final=False):
                    return
            self._send(msgspec.UNSET, final=True)
        except BaseException as error:  # it is raised to whoever iterates
            self._input_error = error
            self.cancel("the input failed")

    def _send(self, piece: Any, *, final: bool) -> bool:
        with self._changed:
            while not self._side.may_send and not self._released:
                self._changed.wait()
            if self._released:
                return False
            line = self._side.input(piece, final=final)
        self._link.write(line)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

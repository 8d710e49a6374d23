"""Requests of several tasks on one channel: implements `ports.Pipeline`.

    send(a), send(b)  ->  channel  ->  answers in any order  ->  reader  ->  whoever waits for a, for b

A stream of its own costs a request a negotiation, a window and a place; this costs it an entry in a table. One task
reads for all, from the first request until the stream ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from nexusd.host.ports import Channel, ConnectionLostError, DeadlineError, HostError, NotTakenError, UnsupportedError
from nexusd_protocols.errors import LocalProtocolError, RemoteProtocolError

EventT = TypeVar("EventT")
CommandT = TypeVar("CommandT")


class StreamPipeline(Generic[EventT, CommandT]):
    """`key` says which request an event answers; events that answer none are dropped. `requests` is how many may be
    under way; `spawn` starts the reader (a nursery's `start_soon`)."""

    def __init__(
        self,
        channel: Channel[EventT, CommandT],
        key: Callable[[EventT], str],
        requests: int,
        spawn: Callable[..., None],
    ) -> None:
        self._channel = channel
        self._key = key
        self._spawn = spawn
        self._places = trio.Semaphore(requests, max_value=requests)
        self._under_way: dict[str, PendingRequest[EventT]] = {}
        self._reading = False
        self._failure: Exception | None = None
        self.closed = False
        """As `ports.Pipeline.closed`."""

    async def send(self, key: str, command: CommandT, *, timeout: float) -> PendingRequest[EventT]:
        """As `ports.Pipeline.send`."""
        deadline = trio.current_time() + timeout
        with trio.move_on_at(deadline) as patience:
            await self._places.acquire()
        if patience.cancelled_caught:
            await self.retire()
            raise DeadlineError(f"{self._channel.peer} has not answered what was asked before")
        if self.closed or key in self._under_way:
            self._places.release()
            if self.closed:
                raise NotTakenError(f"The stream to {self._channel.peer} has ended") from self._failure
            raise LocalProtocolError(f"request {key} is under way")
        request = self._under_way[key] = PendingRequest(self.retire)
        if not self._reading:
            self._reading = True
            self._spawn(self._read)
        try:
            await self._channel.send(command, timeout=deadline - trio.current_time())
        except LocalProtocolError:
            self._end(key)  # the machine took nothing of it
            if self.closed:
                raise NotTakenError(f"The stream to {self._channel.peer} has ended") from self._failure
            raise
        except BaseException:
            self._end(key)
            await self.retire()
            raise
        return request

    async def retire(self) -> None:
        """Take no more requests. Those under way are waited for by whoever made them; then the stream is reset."""
        self.closed = True
        if not any(request.awaited for request in self._under_way.values()):
            await self._channel.reset()

    def _end(self, key: str) -> PendingRequest[EventT] | None:
        request = self._under_way.pop(key, None)
        if request is not None:
            self._places.release()
        return request

    async def _read(self) -> None:
        try:
            while (event := await self._channel.receive()) is not None:
                request = self._end(self._key(event))
                if request is not None:
                    request.settle(event)
                if self.closed and not self._under_way:
                    break
            self._failure = NotTakenError(f"{self._channel.peer} ended the stream before it answered")
        except UnsupportedError as error:
            self._failure = NotTakenError(str(error))
        except (HostError, RemoteProtocolError) as error:
            self._failure = error
        finally:
            self.closed = True
            # cancelled, if there is no failure: the node stops
            failure = self._failure or ConnectionLostError(f"The stream to {self._channel.peer} is closed")
            for key in list(self._under_way):
                request = self._end(key)
                assert request is not None
                request.fail(failure)
            if self._failure is None:
                await self._channel.reset()
            else:
                await self._channel.aclose()


class PendingRequest(Generic[EventT]):
    """A request that was sent. Its place is free once it is answered, whether or not somebody still waits for it."""

    def __init__(self, retire: Callable[[], Awaitable[None]]) -> None:
        self._retire = retire
        self._done = trio.Event()
        self._event: EventT | None = None
        self._error: Exception | None = None
        self.awaited = True
        """Whether somebody still wants the answer."""

    def settle(self, event: EventT) -> None:
        """The answer is there."""
        self._event = event
        self._done.set()

    def fail(self, error: Exception) -> None:
        """There will be none."""
        self._error = error
        self._done.set()

    async def answer(self, *, timeout: float) -> EventT:
        """As `ports.PendingRequest.answer`."""
        with trio.move_on_after(timeout) as patience:
            try:
                await self._done.wait()
            finally:
                self.awaited = False
        if patience.cancelled_caught:
            # whoever does not answer one has stopped answering: what comes next gets another stream
            await self._retire()
            raise DeadlineError(f"No answer came in {timeout:g} s")
        if self._error is not None:
            raise self._error
        assert self._event is not None
        return self._event

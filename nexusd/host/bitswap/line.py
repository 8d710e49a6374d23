"""What goes to one peer: wants first, then what it wants of us, one message after the other on one stream.

The stream is opened when there is something to say and closed after a rest. Blocks are read here, just before they are
sent: a peer that takes nothing has nothing read for it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog
import trio

from nexusd.host.ports import (
    BlockSource,
    Channel,
    ConnectionLostError,
    DeadlineError,
    HostError,
    Streams,
    UnreachableError,
    UnsupportedError,
)
from nexusd_protocols import limits
from nexusd_protocols.bitswap.events import Fetch, Fetched, Left, Look, Send, Sent, ServerInput, Sized
from nexusd_protocols.bitswap.message import Message, MessageStream, Want
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import PeerId

_log = structlog.get_logger(__name__)
_noise = logging.getLogger(__name__)

PROTOCOL: Final = "/ipfs/bitswap/1.2.0"
REST_SECONDS: Final = 5.0
"""A stream on which nothing is said is closed: js-bitswap resets one after ten seconds."""
SEND_SECONDS: Final = 10.0
LEAST_RATE: Final = 16 * limits.KIB
"""For one message, and bytes a second besides: a link of 128 kbit/s is fast enough, and the largest block holds memory
for two minutes at most."""
TRIES: Final = 3
"""Streams that break one after the other, until the peer is given up."""
RETRY_SECONDS: Final = 0.2

Job = Look | Fetch | Send
T = TypeVar("T")


@dataclass(slots=True)
class _Words:
    """Wants and cancels that go in one message."""

    wants: dict[bytes, Want]
    cancels: dict[bytes, Cid]
    full: bool

    @classmethod
    def of(cls, message: Message) -> _Words:
        wants = {want.cid.digest: want for want in message.wants}
        return cls(wants, {cid.digest: cid for cid in message.cancels}, message.full)

    def join(self, later: Message) -> bool:
        """Add what is said later. False if that would change its sense: a want behind the cancel of the same block."""
        if any(want.cid.digest in self.cancels for want in later.wants):
            return False
        for want in later.wants:
            self.wants[want.cid.digest] = want
        for cid in later.cancels:
            # also if it is about a want that has not gone out: the peer may have it from before
            self.wants.pop(cid.digest, None)
            self.cancels[cid.digest] = cid
        return True

    def message(self) -> Message:
        return Message(tuple(self.wants.values()), tuple(self.cancels.values()), self.full)


class Line:
    """To one peer. `answer` gives an input to the server machine, `broken` is told that what was said may be lost,
    `given_up` that the peer is of no use; `ended` is called when nothing more will be taken."""

    def __init__(
        self,
        peer: PeerId,
        streams: Streams,
        source: Callable[[], BlockSource],
        *,
        answer: Callable[[ServerInput], None],
        broken: Callable[[PeerId], None],
        given_up: Callable[[PeerId], None],
        ended: Callable[[Line], None],
    ) -> None:
        self.peer = peer
        self.scope = trio.CancelScope()
        self._streams = streams
        self._source = source
        self._answer = answer
        self._broken = broken
        self._given_up = given_up
        self._ended = ended
        self._words: deque[_Words] = deque()
        self._job: Job | None = None
        self._wake = trio.Event()
        self._channel: Channel[Message, Message] | None = None
        self._breaks = 0

    def say(self, message: Message) -> None:
        """Tell the peer what is wanted and what not: with what waits to be said already, unless that speaks of the same
        blocks otherwise."""
        if message.full:
            self._words.clear()
        last = self._words[-1] if self._words else None
        if last is None or not last.join(message):
            self._words.append(_Words.of(message))
        self._wake.set()

    def give(self, job: Job) -> None:
        """Something to do for the peer: one at a time, and the next when the answer was given."""
        self._job = job
        self._wake.set()

    async def run(self) -> None:
        """Until there is nothing to say for a while, the peer is given up, or `scope` is cancelled."""
        try:
            with self.scope:
                await self._run()
        finally:
            self._ended(self)
            if self._channel is not None:
                await self._channel.reset()

    async def _run(self) -> None:
        while True:
            try:
                if self._words:
                    await self._send(self._words.popleft().message())
                elif self._job is not None:
                    job, self._job = self._job, None
                    await self._do(job)
                elif not await self._woken():
                    break
            except (UnreachableError, UnsupportedError) as error:
                return self._give_up(error)
            except HostError as error:
                self._breaks += 1
                if self._breaks >= TRIES:
                    return self._give_up(error)
                await self._mend(error)
        self._ended(self)
        if (channel := self._channel) is not None:
            self._channel = None
            await channel.aclose()
        return None

    async def _woken(self) -> bool:
        """Wait for something to do; False if that is too long."""
        self._wake = trio.Event()
        with trio.move_on_after(REST_SECONDS):
            await self._wake.wait()
        return self._wake.is_set()

    # --- the peer's wants -----------------------------------------------------------------------------------------

    async def _do(self, job: Job) -> None:
        match job:
            case Look(peer, cids):
                self._answer(Sized(peer, tuple([await self._ask(self._source().size, cid) for cid in cids])))
            case Fetch(peer, cids):
                self._answer(Fetched(peer, tuple([await self._ask(self._source().get, cid) for cid in cids])))
            case Send(peer, message):
                await self._send(message)
                self._answer(Sent(peer))

    async def _ask(self, question: Callable[[Cid, PeerId], Awaitable[T | None]], cid: Cid) -> T | None:
        """What the source says. One that fails does not have the block, and stops nobody."""
        try:
            return await question(cid, self.peer)
        except Exception:
            _log.exception("block_source_failed", cid=str(cid))
            return None

    # --- the stream -----------------------------------------------------------------------------------------------

    async def _send(self, message: Message) -> None:
        """Raises HostError, after which the stream is gone."""
        size = sum(len(block.data) for block in message.blocks)
        with trio.CancelScope(deadline=trio.current_time() + SEND_SECONDS + size / LEAST_RATE):
            if not await self._send_on_old(message):
                # wants are said again with every stream, and blocks are checked against their names
                self._channel = await self._streams.open(
                    self.peer, [PROTOCOL], lambda _protocol: MessageStream(), replayable=True
                )
                await self._channel.send(message)
            self._breaks = 0
            return
        raise DeadlineError(f"{self.peer} does not take what it asked for")

    async def _send_on_old(self, message: Message) -> bool:
        """On the stream that there is. One that the peer ended while it rested is no fault of anybody's."""
        if self._channel is None:
            return False
        try:
            await self._channel.send(message)
        except ConnectionLostError:
            self._channel = None
            return False
        return True

    async def _mend(self, error: HostError) -> None:
        """The stream broke: what the peer wanted is forgotten, and what we want is said again."""
        _noise.debug("bitswap stream to %s: %s", self.peer, error)
        if (channel := self._channel) is not None:
            self._channel = None
            await channel.reset()
        self._job = None
        self._answer(Left(self.peer))
        if not isinstance(error, ConnectionLostError):
            await trio.sleep(RETRY_SECONDS)
        self._broken(self.peer)

    def _give_up(self, error: HostError) -> None:
        _noise.debug("no bitswap with %s: %s", self.peer, error)
        self._ended(self)
        self._given_up(self.peer)

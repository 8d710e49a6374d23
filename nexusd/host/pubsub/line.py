"""Our stream to one peer: opened when the peer is known to speak GossipSub, written by one task, opened again if it
breaks while the peer is connected."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

from nexusd.host.opener import Opener
from nexusd.host.ports import HostError, UnsupportedError
from nexusd.host.pubsub.outbox import Outbox
from nexusd.host.stream import Stream
from nexusd.host.stream_guard import reset_stream
from nexusd_protocols.gossipsub.inputs import Version
from nexusd_protocols.identity import PeerId

_log = logging.getLogger(__name__)

STALL_SECONDS: Final = 10.0
"""A peer that takes nothing of what waits for it for so long is left alone for a while: it must not hold up whoever
publishes, nor keep what waits in memory."""
RETRY_SECONDS: Final = (1.0, 5.0, 30.0)
"""Before the stream is opened again; the last for ever."""
STEADY_SECONDS: Final = 60.0
"""A stream that lasted for so long was a good one: the next is opened soon."""


class Line:
    """To one peer. `made` gives a fresh outbox, with what a peer must hear first in it, or None if the peer is not
    wanted any more; `moved` is told of a stream that goes on over another connection, `lost` that what was in the
    outbox is gone."""

    def __init__(
        self,
        opener: Opener,
        peer: PeerId,
        protocol: str,
        *,
        made: Callable[[Line], Outbox | None],
        moved: Callable[[Outbox], None],
        lost: Callable[[Line], None],
    ) -> None:
        self.peer = peer
        self.version = Version.of(protocol) or Version.V1_0
        self.scope = trio.CancelScope()
        self._opener = opener
        self._protocol = protocol
        self._made = made
        self._told_moved = moved
        self._lost = lost
        self._first: Outbox | None = None

    def begin(self) -> None:
        """Have the first outbox made before `run`: what the peer says at once must find it known."""
        self._first = self._made(self)

    async def run(self) -> None:
        """Until it is cancelled by `scope`, or the peer turns out not to speak the protocol."""
        tries = 0
        with self.scope:
            while True:
                outbox, self._first = self._first or self._made(self), None
                if outbox is None:
                    return
                began = trio.current_time()
                try:
                    await self._carry(outbox)
                except UnsupportedError:
                    return
                except Exception as error:
                    # what the muxer and the socket raise of their own, too
                    _log.debug("pubsub stream to %s: %r", self.peer, error)
                finally:
                    outbox.close()
                    self._lost(self)
                if trio.current_time() - began >= STEADY_SECONDS:
                    tries = 0
                await trio.sleep(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
                tries += 1

    async def _carry(self, outbox: Outbox) -> None:
        """Write what the outbox holds, the only writer of this stream. Raises what ends the stream."""
        # a router knows a message that it has, and a subscription that stands
        stream = await self._opener.open(self.peer, [self._protocol], replayable=True)
        try:
            stream.muxed_conn.when_spare.add(outbox.nudge)
            while (batch := await outbox.pop()) is not None:
                with trio.CancelScope(deadline=trio.current_time() + STALL_SECONDS) as patience:
                    if batch:
                        await stream.write(batch)
                    else:
                        stream = await self._moved(stream, outbox)
                if patience.cancelled_caught:
                    raise HostError("takes nothing")
        finally:
            stream.muxed_conn.when_spare.discard(outbox.nudge)
            await reset_stream(stream)

    async def _moved(self, stream: Stream, outbox: Outbox) -> Stream:
        """Its connection is spare (`duplicates`): go over to the one that is kept. The old stream ends when the peer
        reads the new one, so that to the peer there is no moment without."""
        fresh = await self._opener.open(self.peer, [self._protocol], lazily=False)
        if fresh.muxed_conn.spare:
            await reset_stream(fresh)  # the one that was kept is gone meanwhile
            return stream
        try:
            await stream.close()
        except BaseException:
            await reset_stream(fresh)
            raise
        fresh.muxed_conn.when_spare.add(outbox.nudge)
        stream.muxed_conn.when_spare.discard(outbox.nudge)
        self._told_moved(outbox)
        return fresh

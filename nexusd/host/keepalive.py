"""Whether a connected peer still serves streams. The muxer's own ping (`yamux.py`) says that the connection lives; a
host above it that hangs would be kept for ever.

So every connected peer is pinged on a stream (libp2p specs, ping/ping.md), all side by side, and who does not answer is
disconnected. A peer that does not speak ping is alive all the same. The same round, at the end, says that what was sent
before it arrived.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import trio

from nexusd.host.opener import Opener
from nexusd.host.ports import HostError, UnsupportedError
from nexusd.host.stream_guard import reset_stream
from nexusd_protocols.identity import PeerId

_log = logging.getLogger(__name__)

PING: Final = "/ipfs/ping/1.0.0"
PING_BYTES: Final = 32
INTERVAL: Final = 20.0
"""Seconds between rounds. With PING_SECONDS, a peer that hangs is gone after 30 s at most."""
PING_SECONDS: Final = 10.0


class Keepalive:
    """`drop` disconnects a peer."""

    def __init__(
        self,
        opener: Opener,
        connected: Callable[[], Sequence[PeerId]],
        drop: Callable[[PeerId], Awaitable[None]],
        interval: float = INTERVAL,
    ) -> None:
        self._opener = opener
        self._connected = connected
        self._drop = drop
        self._interval = interval

    async def run(self) -> None:
        """Ping for ever."""
        while True:
            await trio.sleep(self._interval)
            await self.round()

    async def round(self) -> None:
        """Ping everybody once; return when each has answered or is disconnected."""
        async with trio.open_nursery() as nursery:
            for peer in self._connected():
                nursery.start_soon(self._check, peer)

    async def _check(self, peer: PeerId) -> None:
        try:
            await self.ping(peer)
        except HostError as error:
            if peer in self._connected():
                _log.info("%s does not answer: %s", peer, error)
                await self._drop(peer)

    async def ping(self, peer: PeerId) -> float | None:
        """Seconds of a round trip, None if the peer does not speak ping. Raises HostError if nothing comes back."""
        started = trio.current_time()
        stream: Any = None
        try:
            with trio.fail_after(PING_SECONDS):
                stream = await self._opener.open(peer, [PING], replayable=True)
                payload = os.urandom(PING_BYTES)
                with trio.CancelScope(shield=True, deadline=trio.current_time() + PING_SECONDS):
                    await stream.write(payload)
                echo = b""
                while len(echo) < PING_BYTES:
                    echo += await stream.read(PING_BYTES - len(echo))
            if echo != payload:
                raise HostError("another echo than was sent")
        except UnsupportedError:
            return None
        except trio.TooSlowError as error:
            raise HostError(f"no echo in {PING_SECONDS:g} s") from error
        except HostError:
            raise
        except Exception as error:
            # what the muxer and the socket raise of their own
            raise HostError(f"the ping broke: {error!r}") from error
        finally:
            if stream is not None:
                await reset_stream(stream)
        return trio.current_time() - started

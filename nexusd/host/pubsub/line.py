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
from nexusd.host.stream_guard import reset_stream
from nexusd_protocols.gossipsub.inputs import Version
from nexusd_protocols.identity import PeerId

_log = logging.getLogger(__name__)

STALL_SECONDS: Final = 10.0
"""A peer that takes nothing of what waits for it for so long is left alone for a while: it must not hold up whoever
publishes, nor keep what waits in memory."""
RETRY_SECONDS: Final = (1.0, 5.0, 30.0)
"""Before the stream is opened again; the last for ever."""


class Line:
    """To one peer. `made` gives a fresh outbox, with what a peer must hear first in it, or None if the peer is not
    wanted any more; `lost` is told that what was in it is gone."""

    def __init__(
        self,
        opener: Opener,
        peer: PeerId,
        protocol: str,
        *,
        made: Callable[[Line], Outbox | None],
        lost: Callable[[Line], None],
    ) -> None:
        self.peer = peer
        self.version = Version.of(protocol) or Version.V1_0
        self.scope = trio.CancelScope()
        self._opener = opener
        self._protocol = protocol
        self._made = made
        self._lost = lost

    async def run(self) -> None:
        """Until it is cancelled by `scope`, or the peer turns out not to speak the protocol."""
        tries = 0
        with self.scope:
            while True:
                outbox = self._made(self)
                if outbox is None:
                    return
                try:
                    await self._carry(outbox)
                    tries = 0
                except UnsupportedError:
                    return
                except Exception as error:
                    # what the muxer and the socket raise of their own, too
                    _log.debug("pubsub stream to %s: %r", self.peer, error)
                finally:
                    outbox.close()
                    self._lost(self)
                await trio.sleep(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
                tries += 1

    async def _carry(self, outbox: Outbox) -> None:
        """Write what the outbox holds, the only writer of this stream. Raises what ends the stream."""
        stream = await self._opener.open(self.peer, [self._protocol])
        try:
            while (batch := await outbox.pop()) is not None:
                with trio.fail_after(STALL_SECONDS):
                    await stream.write(batch)
        except trio.TooSlowError as error:
            raise HostError("takes nothing") from error
        finally:
            await reset_stream(stream)

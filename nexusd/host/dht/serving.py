"""Answers peers' questions, each peer at its own pace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from nexusd.host.ports import Channel
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId
from nexusd_protocols.kad.message import Message
from nexusd_protocols.kad.server import Asker, Server
from nexusd_protocols.rate import Rates

IDLE_SECONDS: Final = 60.0
"""go-libp2p keeps its stream for the next question; it gives up one that rests for a minute, as we do."""
QUESTIONS: Final = 256
QUESTIONS_PER_SECOND: Final = 50.0
"""Of one peer. A lookup asks a peer once, so an honest peer that looks something up every second needs few; who asks
more waits, and its streams wait with it. Each answer costs about half a millisecond."""
RATES: Final = 1024
"""Peers whose pace is remembered: more than can be connected."""


class Serving:
    """`asker` tells where a peer is connected, `now` unix milliseconds; `charge` takes a peer, a reason, points."""

    def __init__(
        self,
        server: Server,
        asker: Callable[[PeerId], Asker],
        charge: Callable[[PeerId, str, int], None],
        now: Callable[[], int],
    ) -> None:
        self._server = server
        self._asker = asker
        self._charge = charge
        self._now = now
        self._rates: Rates[PeerId] = Rates(QUESTIONS, QUESTIONS_PER_SECOND, most=RATES)

    async def serve(self, channel: Channel[Message, Message]) -> None:
        """Answer the questions of one stream, in their order, until the peer ends it."""
        asker = self._asker(channel.peer)
        while (question := await channel.receive(timeout=IDLE_SECONDS)) is not None:
            now = trio.current_time()
            await trio.sleep(self._rates.of(channel.peer, now).turn(now))
            try:
                answer = self._server.answer(asker, question, self._now())
            except RemoteProtocolError as error:
                if error.penalty:
                    self._charge(channel.peer, error.code, error.penalty)
                raise
            if answer is not None:
                await channel.send(answer)

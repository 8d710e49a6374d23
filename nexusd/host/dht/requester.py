"""One question to one peer, on a stream of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final

import trio

from nexusd.host.dht.addresses import to_text
from nexusd.host.dht.ports import PROTOCOL
from nexusd.host.ports import ConnectionLostError, DeadlineError, HostError, Streams
from nexusd.host.slots import StreamSlots
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId
from nexusd_protocols.kad.contact import Contact
from nexusd_protocols.kad.message import Kind, Message, MessageStream

AT_ONCE: Final = 8
"""Questions to one peer at once: stock py-libp2p answers twelve and resets the rest."""
TRIES: Final = 3
"""A peer that has too much to do resets streams; the question is asked again a little later."""
RETRY_SECONDS: Final = 0.05
ASK_SECONDS: Final = 10.0
"""Dialling, asking and answering."""


class Requester:
    """`connect` has a connection to a peer, `connected` says whether there is one."""

    def __init__(
        self,
        streams: Streams,
        connect: Callable[[PeerId, Sequence[str]], Awaitable[None]],
        connected: Callable[[PeerId], bool],
        random: Random,
    ) -> None:
        self._streams = streams
        self._connect = connect
        self._connected = connected
        self._random = random
        self._slots = StreamSlots(outbound=AT_ONCE)

    async def ask(self, contact: Contact, question: Message) -> Message | None:
        """The answer, None to what has none (ADD_PROVIDER). Raises HostError: UnreachableError and UnsupportedError,
        after which the peer is of no use; ConnectionLostError, DeadlineError."""
        try:
            with trio.fail_after(ASK_SECONDS):
                await self._connect(contact.peer, to_text(contact.addresses, contact.peer))
                ticket = await self._slots.wait(contact.peer, PROTOCOL)
                try:
                    return await self._ask(contact.peer, question)
                finally:
                    self._slots.release(contact.peer, PROTOCOL, ticket)
        except trio.TooSlowError as error:
            raise DeadlineError(f"{contact.peer} did not answer in {ASK_SECONDS:.0f} s") from error
        except RemoteProtocolError as error:
            raise HostError(f"{contact.peer} answered with {error}") from error

    async def _ask(self, peer: PeerId, question: Message) -> Message | None:
        for attempt in range(1, TRIES + 1):
            try:
                return await self._exchange(peer, question)
            except ConnectionLostError:
                # a peer that has closed the connection is not dialled for the same question again
                if attempt == TRIES or not self._connected(peer):
                    raise
                await trio.sleep(RETRY_SECONDS * (1 << attempt) * (0.5 + self._random.random()))
        raise AssertionError("not reached")

    async def _exchange(self, peer: PeerId, question: Message) -> Message | None:
        # a record that is there is put again without effect, and the rest are questions
        channel = await self._streams.open(peer, [PROTOCOL], lambda _protocol: MessageStream(), replayable=True)
        async with channel:
            await channel.send(question)
            await channel.close_write()
            answer = await channel.receive()
        if question.kind is Kind.ADD_PROVIDER:
            return None  # a clean end: it was taken
        if answer is None:
            raise ConnectionLostError(f"{peer} ended the stream without an answer")
        if answer.kind is not question.kind:
            raise HostError(f"{peer} answered another question")
        return answer

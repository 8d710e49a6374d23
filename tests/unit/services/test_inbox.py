"""How far a direct message came, whatever happens on the way."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import trio

from nexusd.agents import Agents
from nexusd.host.ports import ConnectionLostError, UnreachableError
from nexusd.services.inbox import Inbox
from nexusd_protocols import limits
from nexusd_protocols.dm.sender import Acknowledged, DmSender, Message, Refused
from nexusd_protocols.identity import PeerId
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import DmListParams, DmSendParams
from tests.harness.mesh import done
from tests.harness.nodes import signer
from tests.harness.stores import opened

ALICE, BOB = signer("alice").peer_id, signer("bob").peer_id
NOW = 1_800_000_000_000


class FakeChannel:
    """A stream to bob: the real machine encodes, and `answer` is what comes back (None: nothing ever)."""

    protocol = "/nexus/dm/1.1.0"

    def __init__(self, machine: DmSender, streams: FakeStreams) -> None:
        self.machine = machine
        self.streams = streams

    async def send(self, command: Message, *, timeout: float | None = None) -> None:
        await trio.lowlevel.checkpoint()
        self.streams.lines.append(self.machine.send(command))

    async def close_write(self) -> None:
        await trio.lowlevel.checkpoint()
        self.streams.handed_over.set()

    async def receive(self, *, timeout: float | None = None) -> Any:
        answer = self.streams.answer
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.streams.open_channels -= 1


class FakeStreams:
    """Implements what the inbox uses of `ports.Streams`."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.answer: Any = Acknowledged("x")
        self.fault: Exception | None = None
        self.open_channels = 0
        self.handed_over = trio.Event()

    def handle(self, *_: object) -> None:
        pass

    async def open(self, peer: PeerId, protocols: object, machine: Any) -> FakeChannel:
        await trio.lowlevel.checkpoint()
        if self.fault is not None:
            raise self.fault
        self.open_channels += 1
        return FakeChannel(machine("/nexus/dm/1.1.0"), self)


@asynccontextmanager
async def alice(directory: Path) -> AsyncIterator[tuple[Inbox, FakeStreams]]:
    async with opened(directory / "store.sqlite") as store:
        streams: Any = FakeStreams()
        inbox = Inbox(
            agents=Agents(signer("alice")),
            streams=streams,
            store=store,
            clock=lambda: NOW,
            entropy=secrets.token_bytes,
            admit=PeerId,
            resolve=PeerId,
            name_of=lambda _: None,
        )
        await inbox.load()
        yield inbox, streams


async def status(inbox: Inbox) -> list[str]:
    return [message.status for message in done(await inbox.list(DmListParams())).messages]


async def test_what_was_acknowledged_is_stored(tmp_path: Path) -> None:
    async with alice(tmp_path) as (inbox, _):
        assert done(await inbox.send(DmSendParams(peer=BOB, content="just us"))).status == "stored"
        assert await status(inbox) == ["stored"]


async def test_what_was_refused_or_never_left_failed(tmp_path: Path) -> None:
    async with alice(tmp_path) as (inbox, streams):
        streams.answer = Refused("INTERNAL", "no room")
        refusal = await inbox.send(DmSendParams(peer=BOB, content="?"))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "refused"
        assert await status(inbox) == ["failed"]


async def test_nobody_there(tmp_path: Path) -> None:
    async with alice(tmp_path) as (inbox, streams):
        streams.fault = UnreachableError("nobody answers")
        refusal = await inbox.send(DmSendParams(peer=BOB, content="?"))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "unreachable"
        assert await status(inbox) == ["failed"]


async def test_a_connection_lost_behind_the_message_leaves_it_unconfirmed(tmp_path: Path) -> None:
    async with alice(tmp_path) as (inbox, streams):
        streams.answer = ConnectionLostError("gone")
        assert done(await inbox.send(DmSendParams(peer=BOB, content="?"))).status == "unconfirmed"
        assert await status(inbox) == ["unconfirmed"]


async def test_who_stops_waiting_for_the_acknowledgement_has_not_failed(tmp_path: Path) -> None:
    """The peer may well have it: sent, unconfirmed."""
    async with alice(tmp_path) as (inbox, streams):
        streams.answer = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inbox.send, DmSendParams(peer=BOB, content="hello"))
            await streams.handed_over.wait()
            nursery.cancel_scope.cancel()
        assert await status(inbox) == ["unconfirmed"]
        assert streams.open_channels == 0


async def test_text_that_json_swells_over_a_line_is_refused_as_too_large(tmp_path: Path) -> None:
    async with alice(tmp_path) as (inbox, streams):
        for content in ("\x01" * limits.DM_CONTENT_BYTES, "x" * (limits.DM_CONTENT_BYTES + 1)):
            refusal = await inbox.send(DmSendParams(peer=BOB, content=content))
            assert isinstance(refusal, Refusal)
            assert refusal.code == "too_large"
        assert streams.lines == []
        assert done(await inbox.send(DmSendParams(peer=BOB, content='"' * (limits.DM_CONTENT_BYTES // 2)))).status

"""Opening calls that go wrong before they begin, and names that outlive nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from nexusd.agents import Agents
from nexusd.host.ports import ConnectionLostError
from nexusd.services.capabilities import Capabilities
from nexusd.services.capabilities.ports import Incoming
from nexusd.services.policy import Policy, TrustList, TrustLists
from nexusd.services.ports import Persona
from nexusd.services.screening import Screen
from nexusd.store import Store
from nexusd.store.errors import StorageFullError
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.caller import Caller
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.mesh import done
from tests.harness.nodes import signer
from tests.harness.stores import opened

ALICE, BOB = signer("alice").peer_id, signer("bob").peer_id


class FakeChannel:
    """A stream to bob that takes what the machine says, or waits."""

    peer = BOB

    def __init__(self, machine: Any, fault: Exception | None, *, stuck: bool) -> None:
        self.machine = machine
        self.fault = fault
        self.stuck = stuck
        self.sent = b""
        self.resets = 0
        self.heard: list[Any] = []

    async def receive(self) -> Any:
        await trio.lowlevel.checkpoint()
        return self.heard.pop(0)

    async def send(self, *commands: Any, timeout: float | None = None) -> None:
        if self.fault is not None:
            raise self.fault
        if self.stuck:
            await trio.sleep_forever()
        for command in commands:
            self.sent += self.machine.send(command)

    async def reset(self) -> None:
        self.resets += 1


class FakeStreams:
    """Implements what capabilities use of `ports.Streams`."""

    def __init__(self) -> None:
        self.channels: list[FakeChannel] = []
        self.fault: Exception | None = None
        self.stuck = False
        self.handled: dict[str, tuple[Any, Any]] = {}

    def handle(self, protocol: str, machine: Any, handler: Any) -> None:
        self.handled[protocol] = (machine, handler)

    async def open(self, peer: PeerId, protocols: object, machine: Any) -> FakeChannel:
        await trio.lowlevel.checkpoint()
        self.channels.append(FakeChannel(machine("/nexus/invoke/1.1.0"), self.fault, stuck=self.stuck))
        return self.channels[-1]


class Silent:
    async def call(self, incoming: Incoming) -> None:
        await trio.sleep_forever()


class NoTrade:
    """For a till and a purse, where nothing is sold or bought."""

    tokens = Tokens()


class Running:
    """Alice's capabilities; `told` grows when others are told of a change."""

    def __init__(self, store: Store, lists: TrustLists) -> None:
        self.streams = FakeStreams()
        self.store = store
        self.told: list[list[str]] = []
        streams: Any = self.streams
        trade: Any = NoTrade()
        self.capabilities = Capabilities(
            agents=Agents(signer("alice")),
            streams=streams,
            store=store,
            emit=lambda _: None,
            clock=lambda: 1_800_000_000_000,
            entropy=bytes,
            admit=PeerId,
            policy=Policy(lists, lambda: 0),
            persona_of=lambda _: Persona("alice", "autonomous", ()),
            learn_name=self._learn,
            changed=self._changed,
            till=trade,
            purse=trade,
            screen=Screen(),
        )

    async def _learn(self, peer: PeerId, name: str) -> None:
        await trio.lowlevel.checkpoint()

    async def _changed(self, agent: AgentId) -> None:
        await trio.lowlevel.checkpoint()
        self.told.append(self.names())

    def names(self) -> list[str]:
        return self.capabilities.names(AgentId(ALICE))


@asynccontextmanager
async def alice(directory: Path, **lists: TrustList) -> AsyncIterator[Running]:
    async with opened(directory / "store.sqlite") as store, trio.open_nursery() as nursery:
        running = Running(store, TrustLists(**lists))
        await running.capabilities.load()
        await nursery.start(running.capabilities.run)
        yield running
        nursery.cancel_scope.cancel()


def call(**params: Any) -> schema.InvokeParams:
    return schema.InvokeParams(peer=BOB, capability="work", **params)


@pytest.mark.parametrize(
    ("params", "fault", "code"),
    [
        ({"input": "x" * 11, "max_input_bytes": 10}, None, "too_large"),
        ({"input": "x", "input_format": "x" * 200}, None, "invalid_params"),
        ({"input": "x"}, ConnectionLostError("gone"), "connection_lost"),
    ],
    ids=["too large", "no such format", "gone"],
)
async def test_a_call_that_cannot_begin_is_refused_and_leaves_no_stream(
    tmp_path: Path, params: dict[str, Any], fault: Exception | None, code: str
) -> None:
    async with alice(tmp_path) as running:
        running.streams.fault = fault
        refusal = await running.capabilities.invoke(call(**params))
        assert isinstance(refusal, Refusal)
        assert refusal.code == code
        assert [channel.resets for channel in running.streams.channels] == [1]


async def test_a_caller_that_goes_away_while_its_call_opens_leaves_no_stream(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        running.streams.stuck = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.capabilities.invoke, call(input="x"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert [channel.resets for channel in running.streams.channels] == [1]


async def test_what_a_lost_connection_served_is_free_and_others_are_told(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        one, other = Silent(), Silent()
        for name in ("upper", "lower"):
            done(await running.capabilities.register(schema.CapabilityRegisterParams(name=name), one))
        done(await running.capabilities.register(schema.CapabilityRegisterParams(name="count"), other))
        running.capabilities.release(one)
        await trio.testing.wait_all_tasks_blocked()
        assert running.told[-1] == ["count"]
        done(await running.capabilities.register(schema.CapabilityRegisterParams(name="upper"), other))


async def test_what_cannot_be_kept_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error means that nothing changed; and what was served before goes on."""

    async def full(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise StorageFullError("The disk is full")

    def params(name: str, program: str) -> schema.CapabilityServeParams:
        return schema.CapabilityServeParams(name=name, command=schema.CommandSpec(argv=[program], cwd=str(tmp_path)))

    async with alice(tmp_path) as running:
        done(await running.capabilities.serve(params("kept", "cat")))
        monkeypatch.setattr(running.store.capabilities, "put", full)
        for name in ("kept", "new"):
            with pytest.raises(StorageFullError):
                await running.capabilities.serve(params(name, "tac"))
        assert running.names() == ["kept"]
        (entry,) = running.capabilities.offers(AgentId(ALICE))
        assert isinstance(entry.options, schema.CapabilityServeParams)
        assert entry.options.command is not None
        assert entry.options.command.argv == ["cat"]


COMMAND = schema.CommandSpec(argv=["cat"], cwd="/")


async def test_what_others_may_not_call_is_neither_served_nor_told_of(tmp_path: Path) -> None:
    async with alice(tmp_path) as running:
        await running.capabilities.serve(schema.CapabilityServeParams(name="secret-plans", command=COMMAND))
        await running.capabilities.serve(schema.CapabilityServeParams(name="upper", command=COMMAND))
        assert running.names() == ["secret-plans", "upper"]
    async with alice(tmp_path, capabilities=TrustList(deny=["secret*"])) as running:
        assert running.names() == ["upper"]
        shown = {row.name: row.available for row in running.capabilities.status(AgentId(ALICE))}
        assert shown == {"secret-plans": False, "upper": True}
        params = schema.CapabilityServeParams(name="secret-2", command=COMMAND)
        served = await running.capabilities.serve(params)
        registered = await running.capabilities.register(schema.CapabilityRegisterParams(name="secret-2"), Silent())
        for refusal in (served, registered):
            assert isinstance(refusal, Refusal)
            assert (refusal.code, refusal.data) == ("not_allowed", {"rule": "deny_capabilities"})


async def test_a_call_of_what_is_not_open_is_forbidden_before_it_is_looked_up(tmp_path: Path) -> None:
    async with alice(tmp_path, capabilities=TrustList(allow=["upper"])) as running:
        answers = {}
        for name in ("nobody-has-it", "upper"):
            caller = Caller(BOB, ALICE)
            machine, answer = running.streams.handled["/nexus/invoke/1.1.0"]
            channel = FakeChannel(machine(BOB), None, stuck=False)
            channel.heard = channel.machine.receive(caller.send(commands.Open(request_id="r1", capability=name)))
            await answer(channel)
            (answers[name],) = caller.receive(channel.sent)
        forbidden, unknown = answers["nobody-has-it"], answers["upper"]
        assert forbidden == events.Failed("FORBIDDEN", "capability 'nobody-has-it' is not open to others")
        assert unknown.code == "NOT_FOUND"

"""Serving, listing and calling capabilities: what the doors ask for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
import structlog
import trio
from msgspec.structs import replace

from nexusd.agents import Agent, Agents
from nexusd.host.ports import HostError, Streams
from nexusd.services.capabilities import calls, serving
from nexusd.services.capabilities.buying import paid, payer, reopener
from nexusd.services.capabilities.command import Command
from nexusd.services.capabilities.free import FreeTier
from nexusd.services.capabilities.inquiry import Inquiry
from nexusd.services.capabilities.openai import OpenAi
from nexusd.services.capabilities.paid import PaidCall
from nexusd.services.capabilities.ports import Call, End, Provider
from nexusd.services.capabilities.registry import Entry, Registry
from nexusd.services.policy import Policy
from nexusd.services.ports import Emit, Entropy, LiveEvent, PersonaOf, Resolve, WallClock, refusal_of
from nexusd.services.screening import Screen
from nexusd.services.trade import Offers, Purse, Till
from nexusd.store import Store
from nexusd.store.invocations import InvocationRow
from nexusd_protocols import limits, ndjson
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import CapabilityName, parse_capability_name, uuid7
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.caller import Caller
from nexusd_protocols.invoke.frames import PROTOCOL, Code
from nexusd_protocols.invoke.provider import Provider as ProviderMachine
from nexusd_protocols.invoke.quota import Limits
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import (
    Capability,
    CapabilityList,
    CapabilityListParams,
    CapabilityNameParams,
    CapabilityOptions,
    CapabilityRegisterParams,
    CapabilityServeParams,
    Done,
    InvokeParams,
)

log = structlog.get_logger(__name__)

OptionsT = TypeVar("OptionsT", bound=CapabilityOptions)

SETTLING_S: Final = 30
"""Of the window of a payment, what is left to settle it when the work has taken all its time."""
CALLS_AT_ONCE: Final = 1024
"""Calls being answered on this node, in all: what they buffer is bounded by this times their input limits."""


class Capabilities:
    """The capabilities of this node's agents, and calls to those of others."""

    def __init__(
        self,
        *,
        agents: Agents,
        streams: Streams,
        store: Store,
        emit: Emit,
        clock: WallClock,
        entropy: Entropy,
        admit: Resolve,
        policy: Policy,
        persona_of: PersonaOf,
        learn_name: Callable[[PeerId, str], Awaitable[None]],
        changed: Callable[[AgentId], Awaitable[None]],
        till: Till | None = None,
        purse: Purse | None = None,
        screen: Screen | None = None,
        free_calls: int = 60,
    ) -> None:
        """Without a `till` nothing is sold, without a `purse` nothing is bought. `free_calls`: see `FreeTier`."""
        self._agents = agents
        self._local = PeerId(agents.first.id)
        self._streams = streams
        self._store = store
        self._emit = emit
        self._clock = clock
        self._entropy = entropy
        self._admit = admit
        self._policy = policy
        self._inquiry = Inquiry(
            agent=agents.first, streams=streams, persona_of=persona_of, status=self._offered, learn_name=learn_name
        )
        self._changed = changed
        self._till = till
        self._purse = purse
        self._screen = screen or Screen()
        self._free = FreeTier(free_calls)
        self._registry = Registry()
        self._answering: set[serving.IncomingCall] = set()
        self._calling: set[calls.OutgoingCall] = set()
        self._closing = False
        self._serving = trio.Lock()
        """Held while what the daemon serves changes, on disk and in memory."""
        self._idle = trio.Event()
        self._recording = 0
        self._background: trio.Nursery | None = None

    # --- life -------------------------------------------------------------------------------------------------------
    async def load(self) -> None:
        """Serve again what the daemon served before, and listen for calls."""
        for agent in self._agents:
            for row in await self._store.capabilities.list(agent.id):
                params = msgspec.json.decode(row.spec, type=CapabilityServeParams)
                offers = self._offers_of(row.name, params)
                if isinstance(offers, Refusal):
                    # for nothing would be wrong, and so would be to stop all else
                    log.error("not_served", capability=row.name, reason=offers.message)
                    continue
                self._registry.add(_entry(agent, row.name, params, offers))
        self._streams.handle(PROTOCOL, self._provider_machine, self._answer)
        self._inquiry.listen()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the record of calls, and tell others what is served no more, until cancelled."""
        async with trio.open_nursery() as self._background:
            task_status.started()
            await trio.sleep_forever()

    @property
    def open_calls(self) -> tuple[int, int]:
        """Calls under way: those made, and those answered."""
        return len(self._calling), len(self._answering)

    async def aclose(self) -> None:
        """Give up what runs, each with a word to the other side, and finish the record."""
        self._closing = True
        for incoming in list(self._answering):
            incoming.shut_down()
        for call in list(self._calling):
            await call.cancel("the caller is shutting down")
        while self._answering or self._recording:
            self._idle = trio.Event()
            await self._idle.wait()

    def offers(self, agent: AgentId) -> list[Entry]:
        """What others may call."""
        return [each for each in self._registry.of(agent) if self._policy.refuses_capability(each.name) is None]

    async def ask(self, peer: PeerId) -> CapabilityList | Refusal:
        """What a peer, or this node itself, offers now."""
        if peer == self._local:
            return CapabilityList(peer=peer, answered=True, capabilities=self._offered(self._agents.first.id))
        return await self._inquiry.ask(peer, self._new_id())

    def names(self, agent: AgentId) -> list[str]:
        """What an agent serves, as its presence tells."""
        return [row.name for row in self._offered(agent)][: limits.PROFILE_CAPABILITIES]

    def status(self, agent: AgentId) -> list[Capability]:
        """What an agent serves, and how busy it is. What others may not call is not available."""
        return [
            replace(view, available=False) if self._policy.refuses_capability(view.name) else view
            for view in (entry.view() for entry in self._registry.of(agent))
        ]

    def _offered(self, agent: AgentId) -> list[Capability]:
        """What others may call, and how busy it is."""
        return [row for row in self.status(agent) if self._policy.refuses_capability(row.name) is None]

    def _provider_machine(self, peer: PeerId) -> ProviderMachine:
        return ProviderMachine(self._local, peer, grant=self._grant)

    def _grant(self, name: str) -> Limits:
        entry = self._registry.find(self._agents.first.id, name)
        if entry is None:
            return Limits()
        # an authorisation has to outlive the work, so that it can be settled
        within_ms = [(offer.max_timeout_s - SETTLING_S) * 1000 for offer in entry.offers]
        return Limits(
            max_duration_ms=min(entry.options.timeout_ms, *within_ms, entry.options.timeout_ms),
            max_input_bytes=entry.options.max_input_bytes,
        )

    # --- answering --------------------------------------------------------------------------------------------------
    async def _answer(self, channel: serving.CHANNEL) -> None:
        opened = await channel.receive()
        if not isinstance(opened, events.Opened):
            return  # the stream ended before it began
        agent = self._agents.first.id if opened.to_agent is None else opened.to_agent
        name = opened.open.capability
        if self._policy.refuses_capability(name) is not None:
            # before anything is looked up: whether it is served here is nobody's business
            await channel.send(commands.Error(Code.FORBIDDEN, f"capability {name!r} is not open to others"))
            return
        entry = self._registry.find(agent, name)
        if entry is None:
            await channel.send(commands.Error(Code.NOT_FOUND, f"no capability {name!r} here"))
            return
        if self._closing or len(self._answering) >= CALLS_AT_ONCE:
            await channel.send(commands.Error(Code.BUSY, "try again later"))
            return
        if entry.rationed and not self._free.allows(entry.name, channel.peer, trio.current_time()):
            await channel.send(commands.Error(Code.BUSY, self._free.used_up))
            return
        incoming = self._incoming(agent, channel, opened, entry)
        if isinstance(incoming, Refusal):
            await channel.send(commands.Error(Code.BAD_REQUEST, incoming.message))
            return
        self._answering.add(incoming)
        self._started(incoming.invocation, "in", channel.peer, entry.name)
        started_at = self._clock()
        outcome = "abandoned"
        try:
            outcome = await incoming.run()
        finally:
            self._answering.discard(incoming)
            self._idle.set()
            entry.took(incoming.duration_ms)
            log.info("call_answered", capability=entry.name, peer=channel.peer, outcome=outcome)
            self._record(
                agent,
                InvocationRow(
                    invocation=incoming.invocation,
                    direction="in",
                    peer=channel.peer,
                    capability=entry.name,
                    started_at=started_at,
                    duration_ms=incoming.duration_ms,
                    input_bytes=incoming.input_bytes,
                    output_bytes=incoming.output_bytes,
                    outcome=outcome,
                    payment=incoming.closing.key,
                    asset=incoming.closing.asset,
                    amount=incoming.closing.amount,
                    units=incoming.closing.units,
                ),
            )

    def _incoming(
        self, agent: AgentId, channel: serving.CHANNEL, opened: events.Opened, entry: Entry
    ) -> serving.IncomingCall | Refusal:
        if not entry.offers:
            return serving.IncomingCall(self._new_id(), channel, opened, entry, self._screen)
        assert self._till is not None
        seller = self._agents.find(agent)
        if isinstance(seller, Refusal):
            return seller
        try:
            sale = self._till.sale(seller, channel.peer, opened, entry.offers, entry.options.description)
        except (TypeError, ValueError) as error:
            return Refusal("invalid_params", f"the call has no canonical form: {error}")
        return PaidCall(self._new_id(), channel, opened, entry, sale, self._screen)

    def _record(self, agent: AgentId, row: InvocationRow) -> None:
        """Have it written down; neither side of the call waits for the disk. Calls that end together share a commit."""
        assert self._background is not None
        self._recording += 1
        self._background.start_soon(self._write_record, agent, row)

    async def _write_record(self, agent: AgentId, row: InvocationRow) -> None:
        try:
            await self._store.invocations.record(agent, row)
        except OSError as error:
            log.error("call_not_recorded", invocation=row.invocation, error=str(error))
        finally:
            self._recording -= 1
            self._idle.set()

    def _started(self, invocation: str, direction: str, peer: PeerId, name: str) -> None:
        data = {"invocation": invocation, "direction": direction, "peer": peer, "capability": name}
        self._emit(LiveEvent(kind="invoke", type="started", at=self._clock(), data=data, peer=peer))

    def _new_id(self) -> str:
        return uuid7(self._clock(), self._entropy(10))

    # --- calling ----------------------------------------------------------------------------------------------------
    async def invoke(self, params: InvokeParams) -> Call | Refusal:
        """Open a call; what comes of it is for the `Call` to tell."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        peer = self._admit(params.peer)
        if isinstance(peer, Refusal):
            return peer
        try:
            name = parse_capability_name(params.capability)
        except ValueError as error:
            return Refusal("invalid_name", f"{params.capability!r}: {error}")
        if params.input is not msgspec.UNSET and ndjson.too_deep(ndjson.encode(params.input)):
            return Refusal("invalid_params", f"The input nests over {limits.JSON_DEPTH} levels")
        if params.input is not msgspec.UNSET:
            screened = self._screen.data(params.input, meant=params.anyway)
            if isinstance(screened, Refusal):
                return screened
            params = replace(params, input=screened)
        max_input = calls.max_input(params)
        invocation = self._new_id()
        if params.again is not None:
            if params.max_price is None or params.tab:
                return Refusal("invalid_params", "What is asked for again was paid for, and not by a tab")
            if any(call.invocation == params.again for call in self._calling):
                return Refusal("busy", f"The call {params.again!r} is under way")
            invocation = params.again
        machines: list[Caller] = []

        def machine(_: str) -> Caller:
            machines.append(Caller(self._local, peer))
            return machines[-1]

        try:
            # said once at most, and so not `replayable`: a peer that refuses the protocol is told nothing again
            channel = await self._streams.open(peer, [PROTOCOL], machine)
            opening = commands.Open(
                request_id=invocation,
                capability=name,
                input_format=params.input_format,
                output_mode="stream" if params.stream else "unary",
                max_duration_ms=params.max_duration_ms,
                max_input_bytes=max_input,
                max_output_bytes=params.max_output_bytes,
            )
        except HostError as error:
            return refusal_of(error)
        return await self._begin(agent, params, channel, machines[-1], opening, peer)

    async def _begin(
        self,
        agent: Agent,
        params: InvokeParams,
        channel: calls.CHANNEL,
        machine: Caller,
        opening: commands.Open,
        peer: PeerId,
    ) -> Call | Refusal:
        started_at = self._clock()

        def ended(end: End) -> None:
            self._calling.discard(call)
            row = InvocationRow(
                invocation=call.invocation,
                direction="out",
                peer=peer,
                capability=CapabilityName(opening.capability),
                started_at=started_at,
                duration_ms=end.duration_ms,
                input_bytes=end.input_bytes,
                output_bytes=end.output_bytes,
                outcome="ok" if end.error is None else end.error.remote_code or end.error.code,
                **paid(call.payment, end),
            )
            self._record(agent.id, row)

        pay = payer(self._purse, agent.id, peer, opening, params)
        call = calls.OutgoingCall(
            opening.request_id,
            channel,
            machine,
            opening.max_duration_ms,
            ended,
            pay,
            lambda data: self._screen.data(data, meant=params.anyway),
            reopener(self._streams, self._local, peer, opening, params),
        )
        try:
            await channel.send(opening)
            if params.input is not msgspec.UNSET or params.final:
                await channel.send(commands.Chunk(params.input, params.final))
        except BaseException as error:
            # whatever it was, also that nobody wants the call any more: only a call that began holds its stream
            await channel.reset()
            match error:
                case LimitExceededError():
                    return Refusal("too_large", str(error))
                case LocalProtocolError():
                    return Refusal("invalid_params", str(error))
                case HostError():
                    return refusal_of(error)
            raise
        self._calling.add(call)
        self._started(call.invocation, "out", peer, opening.capability)
        return call

    # --- requests ---------------------------------------------------------------------------------------------------
    async def list(self, params: CapabilityListParams) -> CapabilityList | Refusal:
        """What this daemon serves, or what a peer says that it does."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        if params.peer is None:
            return CapabilityList(peer=agent.id, answered=True, capabilities=self.status(agent.id))
        peer = self._admit(params.peer)
        if isinstance(peer, Refusal):
            return peer
        return await self._inquiry.ask(peer, self._new_id())

    async def serve(self, params: CapabilityServeParams) -> Capability | Refusal:
        """Serve a command or a chat endpoint from now on, also after a restart."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        if (params.command is None) == (params.openai is None):
            return Refusal("invalid_params", "Give exactly one of command and openai")
        name = self._name(params.name)
        if isinstance(name, Refusal):
            return name
        if params.openai is not None and not params.openai.url.startswith(("http://", "https://")):
            return Refusal("refused", f"{params.openai.url!r} is not an http or https URL")
        priced = await self._priced(name, params)
        if isinstance(priced, Refusal):
            return priced
        params, offers = priced
        entry = _entry(agent, name, params, offers)
        async with self._serving:
            before = self._registry.find(agent.id, name)
            if refusal := self._registry.add(entry):
                return refusal
            try:
                await self._store.capabilities.put(agent.id, name, ndjson.encode(params).decode(), self._clock())
            except OSError:
                self._registry.put_back(agent.id, name, before)
                raise
        await self._changed(agent.id)
        return entry.view()

    async def _priced(self, name: CapabilityName, options: OptionsT) -> tuple[OptionsT, Offers] | Refusal:
        """The options with their price filled in, and its terms."""
        if options.price is not None and self._till is not None:
            price = await self._till.price(name, options.price, options.timeout_ms)
            if isinstance(price, Refusal):
                return price
            options = replace(options, price=price)
        offers = self._offers_of(name, options)
        return offers if isinstance(offers, Refusal) else (options, offers)

    def _offers_of(self, name: CapabilityName, options: CapabilityOptions) -> Offers | Refusal:
        if options.price is None:
            return ()
        if self._till is None:
            return Refusal("refused", "This daemon takes no payments")
        try:
            return self._till.offers(name, options.price, options.timeout_ms)
        except ValueError as error:
            return Refusal("invalid_params", str(error))

    def _name(self, text: str) -> CapabilityName | Refusal:
        """A name that may be served here: to serve what nobody may call would be a mistake."""
        try:
            name = parse_capability_name(text)
        except ValueError as error:
            return Refusal("invalid_name", f"{text!r}: {error}")
        return self._policy.refuses_capability(name) or name

    async def register(self, params: CapabilityRegisterParams, provider: Provider) -> Done | Refusal:
        """Serve on a connection, for as long as it lasts."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        name = self._name(params.name)
        if isinstance(name, Refusal):
            return name
        priced = await self._priced(name, params)
        if isinstance(priced, Refusal):
            return priced
        params, offers = priced
        entry = Entry(agent.id, name, "connection", provider, params, params.streaming, owner=provider, offers=offers)
        if refusal := self._registry.add(entry):
            return refusal
        await self._changed(agent.id)
        return Done()

    async def unregister(self, params: CapabilityNameParams, owner: Provider) -> Done | Refusal:
        """Stop serving what this connection serves, or what the daemon does."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        async with self._serving:
            entry = self._registry.find(agent.id, params.name)
            if entry is None or (entry.owner is not None and entry.owner is not owner):
                return Refusal("capability_unknown", f"No capability {params.name!r} is served here")
            if entry.owner is None:
                await self._store.capabilities.remove(agent.id, entry.name)
            self._registry.remove(agent.id, entry.name)
        await self._changed(agent.id)
        return Done()

    def release(self, provider: Provider) -> None:
        """A connection is gone, at whatever moment: what it served is served no more."""
        assert self._background is not None
        for agent in {entry.agent for entry in self._registry.remove_owned(provider)}:
            self._background.start_soon(self._changed, agent)


def _entry(agent: Agent, name: CapabilityName, params: CapabilityServeParams, offers: Offers) -> Entry:
    if params.command is not None:
        return Entry(agent.id, name, "command", Command(params.command), params, offers=offers)
    assert params.openai is not None
    return Entry(agent.id, name, "openai", OpenAi(params.openai), params, offers=offers)

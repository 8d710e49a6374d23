"""Calls that this node makes: what may be asked, the stream to ask on, and what is written down of it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from nexusd.agents import Agent, Agents
from nexusd.host.ports import HostError, Streams
from nexusd.services.capabilities.buying import paid, payer, reopener
from nexusd.services.capabilities.outgoing import CHANNEL, OutgoingCall, dial
from nexusd.services.capabilities.ports import Call, End
from nexusd.services.capabilities.record import Record
from nexusd.services.ports import Resolve, WallClock, refusal_of
from nexusd.services.screening import Screen
from nexusd.services.trade import Purse
from nexusd.store.invocations import InvocationRow
from nexusd_protocols import limits, ndjson
from nexusd_protocols.errors import LimitExceededError, LocalProtocolError
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import CapabilityName, parse_capability_name
from nexusd_protocols.invoke import commands
from nexusd_protocols.invoke.caller import Caller
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import InvokeParams


class Calling:
    """This node's end of `/nexus/invoke/1.1.0` where it calls others."""

    def __init__(
        self,
        *,
        agents: Agents,
        streams: Streams,
        record: Record,
        clock: WallClock,
        new_id: Callable[[], str],
        admit: Resolve,
        purse: Purse,
        screen: Screen,
    ) -> None:
        self._agents = agents
        self._local = PeerId(agents.first.id)
        self._streams = streams
        self._record = record
        self._clock = clock
        self._new_id = new_id
        self._admit = admit
        self._purse = purse
        self._screen = screen
        self._calls: set[OutgoingCall] = set()

    def __len__(self) -> int:
        """Calls under way."""
        return len(self._calls)

    async def shut_down(self) -> None:
        """Give up the calls that run."""
        for call in list(self._calls):
            await call.cancel("the caller is shutting down")

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
        checked = self._screened(params)
        if isinstance(checked, Refusal):
            return checked
        params = checked
        if refusal := await self._made_before(params, agent, peer, name):
            return refusal
        opening = commands.Open(
            request_id=params.id or params.again or self._new_id(),
            capability=name,
            input_format=params.input_format,
            output_mode="stream" if params.stream else "unary",
            max_duration_ms=params.max_duration_ms,
            max_input_bytes=_max_input(params),
            max_output_bytes=params.max_output_bytes,
        )
        try:
            channel, machine = await dial(self._streams, self._local, peer)
        except HostError as error:
            return refusal_of(error)
        call = self._call(agent, peer, params, opening, channel, machine)
        refusal = await _open(channel, opening, params)
        if refusal is not None:
            return refusal
        if params.input is not msgspec.UNSET or params.final:
            call.said(params.input, params.final)
        self._calls.add(call)
        self._record.began(call.invocation, "out", peer, name)
        return call

    def _screened(self, params: InvokeParams) -> InvokeParams | Refusal:
        """With the input as it may go."""
        if params.input is msgspec.UNSET:
            return params
        if ndjson.too_deep(ndjson.encode(params.input)):
            return Refusal("invalid_params", f"The input nests over {limits.JSON_DEPTH} levels")
        screened = self._screen.data(params.input, meant=params.anyway)
        return screened if isinstance(screened, Refusal) else replace(params, input=screened)

    async def _made_before(
        self, params: InvokeParams, agent: Agent, peer: PeerId, name: CapabilityName
    ) -> Refusal | None:
        """Why a call cannot be made under the id that it names."""
        again = params.again
        if again is not None:
            if params.id is not None:
                return Refusal("invalid_params", "`again` is the id")
            if params.max_price is None or params.tab:
                return Refusal("invalid_params", "What is asked for again was paid for, and not by a tab")
        id_ = params.id or again
        if id_ is not None and any(call.invocation == id_ for call in self._calls):
            return Refusal("busy", f"The call {id_!r} is under way")
        if again is None:
            return None
        return await self._purse.not_again(again, agent.id, peer, name)

    def _call(
        self,
        agent: Agent,
        peer: PeerId,
        params: InvokeParams,
        opening: commands.Open,
        channel: CHANNEL,
        machine: Caller,
    ) -> OutgoingCall:
        started_at = self._clock()

        def ended(call: OutgoingCall, end: End) -> None:
            self._calls.discard(call)
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
            self._record.ended(agent.id, row)

        return OutgoingCall(
            opening.request_id,
            channel,
            machine,
            opening.max_duration_ms,
            ended,
            payer(self._purse, agent.id, peer, opening, params),
            lambda data: self._screen.data(data, meant=params.anyway),
            reopener(self._streams, self._local, peer, opening, params),
        )


async def _open(channel: CHANNEL, opening: commands.Open, params: InvokeParams) -> Refusal | None:
    """Say what is called, with the input that is at hand; or why that cannot be said, without the stream then."""
    try:
        if params.input is not msgspec.UNSET or params.final:
            await channel.send(opening, commands.Chunk(params.input, params.final))
        else:
            await channel.send(opening)
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
    return None


def _max_input(params: InvokeParams) -> int:
    """What to state: what the caller wants, else the published default or what is at hand."""
    if params.max_input_bytes is not None:
        return params.max_input_bytes
    if params.input is msgspec.UNSET:
        return limits.INVOKE_MAX_INPUT_BYTES if params.final else limits.INVOKE_INPUT_CEILING_BYTES
    return max(limits.INVOKE_MAX_INPUT_BYTES, ndjson.json_size(params.input))

"""Calls that come to this node: which of them are answered, by what, and what is written down of each.

stream -> admitted? -> a call, or one that is paid for -> its end -> record
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
import trio

from nexusd.agents import Agents
from nexusd.host.ports import Streams
from nexusd.services.capabilities.free import FreeTier
from nexusd.services.capabilities.incoming import CHANNEL, IncomingCall
from nexusd.services.capabilities.paid import PaidCall
from nexusd.services.capabilities.record import Record
from nexusd.services.capabilities.registry import Entry, Registry
from nexusd.services.policy import Policy
from nexusd.services.ports import WallClock
from nexusd.services.screening import Screen
from nexusd.services.trade import Till
from nexusd.store.invocations import InvocationRow
from nexusd_protocols import limits
from nexusd_protocols.identity import PeerId
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.frames import PROTOCOL, Code
from nexusd_protocols.invoke.provider import Provider as ProviderMachine
from nexusd_protocols.invoke.quota import Limits
from nexusd_protocols.rpc.codes import Refusal

log = structlog.get_logger(__name__)

CALLS_AT_ONCE: Final = 1024
"""Calls being answered on this node, in all: what they buffer is bounded by this times their input limits."""


class Answering:
    """This node's end of `/nexus/invoke/1.1.0` where others call it."""

    def __init__(
        self,
        *,
        agents: Agents,
        streams: Streams,
        registry: Registry,
        policy: Policy,
        record: Record,
        clock: WallClock,
        new_id: Callable[[], str],
        till: Till,
        screen: Screen,
        free: FreeTier,
    ) -> None:
        self._agents = agents
        self._local = PeerId(agents.first.id)
        self._streams = streams
        self._registry = registry
        self._policy = policy
        self._record = record
        self._clock = clock
        self._new_id = new_id
        self._till = till
        self._screen = screen
        self._free = free
        self._calls: set[IncomingCall] = set()
        self._closing = False
        self._ended = trio.Event()

    # --- life -------------------------------------------------------------------------------------------------------
    def listen(self) -> None:
        """Answer from now on."""
        self._streams.handle(PROTOCOL, self._machine, self._answer)

    def __len__(self) -> int:
        """Calls under way."""
        return len(self._calls)

    def shut_down(self) -> None:
        """Take no more calls, and give up those that run."""
        self._closing = True
        for call in list(self._calls):
            call.shut_down()

    async def finished(self) -> None:
        """Wait until no call runs."""
        while self._calls:
            self._ended = trio.Event()
            await self._ended.wait()

    # --- one call ---------------------------------------------------------------------------------------------------
    def _machine(self, peer: PeerId) -> ProviderMachine:
        return ProviderMachine(self._local, peer, grant=self._grant)

    def _grant(self, name: str) -> Limits:
        entry = self._registry.find(self._agents.first.id, name)
        if entry is None:
            return Limits()
        # an authorisation has to outlive the work, so that it can be settled; a tab is followed by another
        after_s = limits.PAYMENT_SETTLING_S
        within_ms = [(offer.max_timeout_s - after_s) * 1000 for offer in entry.offers if offer.flow != "tab"]
        return Limits(
            max_duration_ms=min((entry.options.timeout_ms, *within_ms)),
            max_input_bytes=entry.options.max_input_bytes,
        )

    async def _answer(self, channel: CHANNEL) -> None:
        opened = await channel.receive()
        if not isinstance(opened, events.Opened):
            return  # the stream ended before it began
        entry = self._admitted(channel.peer, opened)
        if isinstance(entry, commands.Error):
            await channel.send(entry)
            return
        call = self._call(channel, opened, entry)
        if isinstance(call, commands.Error):
            await channel.send(call)
            return
        await self._carry(call, channel.peer, entry)

    def _admitted(self, peer: PeerId, opened: events.Opened) -> Entry | commands.Error:
        """What is to answer, or why nothing does."""
        name = opened.open.capability
        if self._policy.refuses_capability(name) is not None:
            # before anything is looked up: whether it is served here is nobody's business
            return commands.Error(Code.FORBIDDEN, f"capability {name!r} is not open to others")
        entry = self._registry.find(self._agents.first.id if opened.to_agent is None else opened.to_agent, name)
        if entry is None:
            return commands.Error(Code.NOT_FOUND, f"no capability {name!r} here")
        if self._closing or len(self._calls) >= CALLS_AT_ONCE:
            return commands.Error(Code.BUSY, "try again later")
        if entry.rationed and not self._free.allows(entry.name, peer, trio.current_time()):
            return commands.Error(Code.BUSY, self._free.used_up)
        return entry

    def _call(self, channel: CHANNEL, opened: events.Opened, entry: Entry) -> IncomingCall | commands.Error:
        if not entry.offers:
            return IncomingCall(self._new_id(), channel, opened, entry, self._screen)
        seller = self._agents.find(entry.agent)
        if isinstance(seller, Refusal):
            return commands.Error(Code.BAD_REQUEST, seller.message)
        try:
            sale = self._till.sale(seller, channel.peer, opened, entry.offers, entry.options.description)
        except (TypeError, ValueError) as error:
            return commands.Error(Code.BAD_REQUEST, f"the call has no canonical form: {error}")
        return PaidCall(self._new_id(), channel, opened, entry, sale, self._screen)

    async def _carry(self, call: IncomingCall, peer: PeerId, entry: Entry) -> None:
        """See a call to its end, and have it written down."""
        self._calls.add(call)
        self._record.began(call.invocation, "in", peer, entry.name)
        started_at = self._clock()
        outcome = "abandoned"
        try:
            outcome = await call.run()
        finally:
            self._calls.discard(call)
            self._ended.set()
            entry.took(call.duration_ms)
            log.info("call_answered", capability=entry.name, peer=peer, outcome=outcome)
            row = InvocationRow(
                invocation=call.invocation,
                direction="in",
                peer=peer,
                capability=entry.name,
                started_at=started_at,
                duration_ms=call.duration_ms,
                input_bytes=call.input_bytes,
                output_bytes=call.output_bytes,
                outcome=outcome,
                payment=call.closing.key,
                asset=call.closing.asset,
                amount=call.closing.amount,
                units=call.closing.units,
                unit=call.closing.unit,
            )
            self._record.ended(entry.agent, row)

"""What this node's agents can do: names, providers, and how busy each is.

A call beyond `max_concurrent` waits its turn; where WAITING_PER_SLOT wait for each place already, the caller is told
BUSY at once, for a queue that long answers nobody in time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import trio

from nexusd.services.capabilities.ports import CallFailed, Provider
from nexusd.services.prices import nothing, own_price
from nexusd.services.trade import Offers
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import Capability, CapabilityOptions

WAITING_PER_SLOT: Final = 4
LEARNING_RATE: Final = 0.2
"""Weight of the newest call in the running mean of durations."""


@dataclass(slots=True, eq=False)
class _Share:
    """What one caller holds of a capability."""

    running: trio.Semaphore
    calls: int = 0


@dataclass(slots=True, eq=False)
class Entry:
    """One capability of one agent. `owner` is the connection that serves it, None where the daemon does."""

    agent: AgentId
    name: CapabilityName
    kind: Literal["connection", "command", "openai"]
    provider: Provider
    options: CapabilityOptions
    streaming: bool = True
    owner: object = None
    offers: Offers = ()
    """What a call costs; empty: nothing."""
    unable: Callable[[Offers], str] = lambda offers: ""
    """Why none of these can be paid now; empty where one can."""
    unfit: Callable[[Sequence[Any], str], str] = lambda pieces, input_format: ""
    """What is wrong with the pieces of an input, as far as can be told without work; empty where nothing is."""
    running: int = 0
    waiting: int = 0
    mean_ms: float = 0.0
    _slots: trio.Semaphore = field(init=False)
    _shares: dict[str, _Share] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._slots = trio.Semaphore(self.options.max_concurrent)

    @asynccontextmanager
    async def slot(self, caller: str) -> AsyncIterator[None]:
        """Hold one of the places to run in. Raises CallFailed BUSY where too many wait already, in all or of this
        caller's. Where there are four places to run in or more, one caller gets three quarters of them, and of those to
        wait in: a place is left for others, however long this one's calls take."""
        slots = self.options.max_concurrent
        share = self._shares.setdefault(caller, _Share(trio.Semaphore(_share_of(slots, slots))))
        places = slots * (1 + WAITING_PER_SLOT)
        if self.waiting >= WAITING_PER_SLOT * slots or share.calls >= _share_of(places, slots):
            self._forget(caller)
            raise CallFailed("BUSY", "too many calls are waiting; try again later")
        share.calls += 1
        try:
            self.waiting += 1
            try:
                await _acquire(share.running)
                try:
                    await _acquire(self._slots)
                except BaseException:
                    share.running.release()
                    raise
            finally:
                self.waiting -= 1
            self.running += 1
            try:
                yield
            finally:
                self.running -= 1
                self._slots.release()
                share.running.release()
        finally:
            share.calls -= 1
            self._forget(caller)

    def _forget(self, caller: str) -> None:
        if self._shares[caller].calls == 0:
            del self._shares[caller]

    def took(self, duration_ms: int) -> None:
        """Learn from a finished call."""
        self.mean_ms += (duration_ms - self.mean_ms) * (LEARNING_RATE if self.mean_ms else 1.0)

    @property
    def rationed(self) -> bool:
        """Whether it has a price of 0: free, so many times an hour."""
        return bool(self.options.prices) and not self.offers

    @property
    def queue_ms(self) -> int:
        """Estimated wait of a call that comes now."""
        ahead = self.running + self.waiting - self.options.max_concurrent + 1
        return max(0, round(ahead * self.mean_ms / self.options.max_concurrent))

    def view(self) -> Capability:
        """As doors and the handshake show it."""
        crowded = self.waiting >= WAITING_PER_SLOT * self.options.max_concurrent
        problem = "too many calls wait" if crowded else self.unable(self.offers)
        return Capability(
            name=self.name,
            available=not problem,
            problem=problem,
            description=self.options.description,
            free=not self.offers,
            streaming=self.streaming,
            max_input_bytes=self.options.max_input_bytes,
            queue_ms=self.queue_ms,
            kind=self.kind,
            prices=[own_price(terms) for terms in self.offers] or [nothing(spec) for spec in self.options.prices],
        )


class Registry:
    """Capabilities by agent and name; a name is served once."""

    def __init__(self) -> None:
        self._entries: dict[tuple[AgentId, CapabilityName], Entry] = {}

    def add(self, entry: Entry) -> Refusal | None:
        """Serve from now on. A daemon-served capability may be replaced by another; a connection's may not."""
        held = self._entries.get((entry.agent, entry.name))
        if held is not None and (held.owner is not None or entry.owner is not None) and held.owner is not entry.owner:
            return Refusal("capability_taken", f"{entry.name!r} is served already ({held.kind})")
        self._entries[entry.agent, entry.name] = entry
        return None

    def remove(self, agent: AgentId, name: str) -> Entry | None:
        """Stop serving; calls that run go on."""
        return self._entries.pop((agent, CapabilityName(name)), None)

    def put_back(self, agent: AgentId, name: CapabilityName, before: Entry | None) -> None:
        """Undo an `add`: serve what was there before it, if anything was."""
        if before is None:
            self.remove(agent, name)
        else:
            self._entries[agent, name] = before

    def remove_owned(self, owner: object) -> list[Entry]:
        """Stop serving all that a connection served."""
        gone = [entry for entry in self._entries.values() if entry.owner is owner]
        for entry in gone:
            del self._entries[entry.agent, entry.name]
        return gone

    def find(self, agent: AgentId, name: str) -> Entry | None:
        """The capability of that name."""
        return self._entries.get((agent, CapabilityName(name)))

    def of(self, agent: AgentId) -> list[Entry]:
        """All of an agent's, by name."""
        return sorted((entry for entry in self._entries.values() if entry.agent == agent), key=lambda e: e.name)


async def _acquire(semaphore: trio.Semaphore) -> None:
    """At once, if it is free: Trio's own call takes a turn of the scheduler then too."""
    try:
        semaphore.acquire_nowait()
    except trio.WouldBlock:
        await semaphore.acquire()


def _share_of(places: int, slots: int) -> int:
    return places - places // 4 if slots >= 4 else places

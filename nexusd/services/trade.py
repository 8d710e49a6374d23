"""The two seams to payments: what a paid call needs of whoever takes money for it, and of whoever pays.

Calls know streams and work; they do not know terms, ledgers or chains. A `Till` sells: it says what a call costs and
lets its work out as it is paid. A `Purse` buys: it answers a demand, or says why it does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from nexusd.agents import Agent
from nexusd_protocols import ndjson
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.payments.terms import PriceTerms
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import PaymentSummary, PriceSpec

Offers = Sequence[PriceTerms]
MoreUnderTab = commands.Grow | commands.OpenTab | commands.Exhausted


def line_of(event: str, data: Any) -> bytes:
    """A piece of output as both sides digest it, so that a receipt can be held against what came."""
    return ndjson.encode_line([event, data])


class InputDigest:
    """SHA-256 of the input of a call, as both sides make it: its pieces as lines of JSON. The empty text that says,
    behind other pieces, that these were all is none."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pieces = 0

    def add(self, data: Any, final: bool) -> None:
        """The next piece; UNSET says that nothing more comes."""
        if data is msgspec.UNSET:
            data = ""
        if data == "" and final and self._pieces:
            return
        self._pieces += 1
        self._hash.update(ndjson.encode_line(data))

    @property
    def digest(self) -> bytes:
        """32 bytes, of what was added."""
        return self._hash.digest()


# --- selling --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Failure:
    """The work ended badly: `code` is the word that goes to the caller."""

    code: str
    message: str


class Counter(Protocol):
    """A call, as its sale sees it. Counts are of content, as they go by."""

    input_bytes: int
    output_bytes: int

    @property
    def duration_ms(self) -> int: ...

    @property
    def left_s(self) -> float:
        """Seconds until the caller waits no longer."""
        ...

    @property
    def input_digest(self) -> bytes:
        """SHA-256 of the input so far: its pieces as lines of JSON."""
        ...

    @property
    def whole_input(self) -> bytes:
        """The same once the input is whole; empty before."""
        ...

    async def take_input(self) -> bytes:
        """Wait until the input is whole, and give its digest; empty if it does not come in time."""
        ...

    async def work(self) -> Failure | None:
        """Do what was paid for; output goes to `Sale.produce`."""
        ...

    async def ask(self, due: commands.Due) -> None:
        """Ask for more under a tab. Raises HostError, LocalProtocolError."""
        ...

    async def hand_over(self, event: str, data: Any) -> None:
        """Send a piece to the caller. Raises HostError where that is gone."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """How a paid call ends. `key` names the charge, empty where nothing was charged."""

    command: commands.ProviderCommand
    outcome: str
    key: str = ""
    asset: str = ""
    amount: int = 0
    units: int = 0
    unit: str = ""


class Sale(Protocol):
    """One paid call, from the demand to the end."""

    async def demand(self) -> commands.Demand | commands.Error:
        """What the caller is asked for, or why nothing is sold to it."""
        ...

    async def run(self, counter: Counter, paid: events.PaymentOffered) -> Closing:
        """Check what was offered, and see the call to its end."""
        ...

    def began(self) -> None:
        """The work was taken on: its time counts from now."""
        ...

    @property
    def unit(self) -> str:
        """What its price counts; empty where it is for the whole call."""
        ...

    async def produce(self, event: str, data: Any, size: int, units: int | None) -> None:
        """A piece of output, which counts `units` by its provider's word; waits while enough is held back already.
        Raises ValueError for one that counts more than may go at once."""
        ...

    async def count(self, units: int) -> None:
        """Units that came without output, or that no piece told of."""
        ...

    def cancel(self) -> None:
        """The caller gave up."""
        ...

    def lose(self) -> None:
        """The caller cannot be reached any more."""
        ...

    def answered(self, answer: events.TabAnswer) -> None:
        """The caller answers what was asked under a tab."""
        ...

    def fail(self, code: str) -> None:
        """This side gives the call up."""
        ...


class Till(Protocol):
    """Who takes money for this node's capabilities."""

    async def prices(
        self, name: CapabilityName, specs: Sequence[PriceSpec], timeout_ms: int
    ) -> list[PriceSpec] | Refusal:
        """The prices with everything filled in that they left open, or why nothing can be taken for them."""
        ...

    def offers(self, name: CapabilityName, specs: Sequence[PriceSpec], timeout_ms: int) -> Offers:
        """The terms of prices that `prices` gave; none of a price of 0. Raises ValueError."""
        ...

    def unable(self, offers: Offers) -> str:
        """Why none of these terms can be paid now, for people here; empty where one can."""
        ...

    def sale(self, agent: Agent, peer: PeerId, opened: events.Opened, offers: Offers, description: str) -> Sale:
        """A call to what has a price. Raises ValueError where the call has no canonical form."""
        ...


# --- buying ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A call of ours that its provider wants to be paid for. `id` is the call's and the purchase's, `request` the
    digest that payments are bound to. `max_price` is decimal text, as the caller gave it."""

    id: str
    agent: AgentId
    peer: PeerId
    capability: CapabilityName
    request: bytes
    demanded: events.PaymentDemanded
    max_price: str
    tab: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a call that was paid for ended. `input` is the SHA-256 of what was sent (pieces as lines of JSON), `result`
    that of its output, each with the bytes that it counts; `pieces` is how many came, `response` the provider's
    SettlementResponse, `code` its word for what went wrong, '' if nothing did."""

    input: bytes
    input_bytes: int
    pieces: int
    result: bytes
    output_bytes: int
    response: Any
    code: str


class Payment(Protocol):
    """A purchase under way: signed, on disk, and to be shown to the provider."""

    pay: commands.Pay
    asset: str
    """`eip155:<chain>/<contract, lower hex>`."""

    @property
    def amount(self) -> int:
        """What is signed in all, in the asset's smallest unit."""
        ...

    @property
    def used(self) -> tuple[int, str]:
        """Units that this pays for, and of what (see `terms.Unit`)."""
        ...

    def received(self, size: int) -> Refusal | None:
        """A piece of output came; or why the call is to stop."""
        ...

    async def due(self, event: events.PaymentDue, supplied: int) -> MoreUnderTab | Refusal:
        """The answer to what is asked under a tab: more, signed and on disk; or why the call is to stop. `supplied`:
        bytes of input that went until now."""
        ...

    async def given_up(self) -> commands.Grow | None:
        """The call is given up: what is said to the provider, so that it charges no more than what came, if anything
        is."""
        ...

    def reached(self) -> str:
        """What to say where the call has cost all that it may, and so came to its end; empty where it has not."""
        ...

    async def ended(self, how: Ended) -> PaymentSummary:
        """Keep what became of it."""
        ...


class Purse(Protocol):
    """Who pays for the calls of this node's agents."""

    @property
    def tokens(self) -> Tokens:
        """What is known here."""
        ...

    async def pay(self, wish: Wish) -> Payment | Refusal:
        """Decide, reserve the budget, sign, keep; waits for a person where the policy says so. Cancelled, the purchase
        is closed."""
        ...

    async def not_again(self, id_: str, agent: AgentId, peer: PeerId, capability: CapabilityName) -> Refusal | None:
        """Why nothing that was paid under this id can be asked for again by such a call; None where it can."""
        ...

"""A tab: one authorisation that grows while the work goes on. (specs/payments.md §9)

    provider: Produced, Sent, Wanted, Finished     ──> Cost, Ask              what was delivered, what is wanted for it
              Grown, Opened, Exhausted             ──> Covered, Rolled, Lowered    what the payer signed
    payer:    Received, Supplied, Asked, GivenUp   ──> Authorise, OpenTab, Exhausted    by its own count
    both:                                          ──> Stop                   at the first thing that was not agreed

The payer signs growing amounts under one nonce. The token accepts one of them, ever, and the provider keeps the one
that was signed last: at the end that is the one for what was delivered, which may be less than the one before. `ahead`
of the terms is what the payer risks, for a provider may bring another one of them to the chain: it signs no more than
that beyond what it got, twice that while one tab follows another. `credit` is what the provider risks: it delivers so
much beyond what was signed. A piece costs at most half of both together; so the provider asks while the other half is
left, and nobody waits. Until it settles, the provider also risks the tab as a whole: the payer can cancel it, or show
an older signature itself. So the most that one tab grows to, `amount` of the terms, follows from trust. Behind it, and
before its time is over, comes another tab with another nonce. A tab has paid for as many whole units as what was signed
under it buys.

Here are what the two machines are told and what they say: `tab_provider` and `tab_payer`. Units are those of the terms;
amounts are of one tab. Times are unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.terms import PriceTerms, Unit
from nexusd_protocols.payments.verify import Verified

AHEAD: Final[Mapping[Unit, int]] = {
    "request": 1,
    "chunk": 20,
    "byte": 16_384,
    "token_in": 200,
    "token_out": 200,
    "second": 20,
}
"""Units that are usually signed for ahead of what came, or given ahead of what is signed: what one side risks, and what
goes out while the next signature comes."""


EXACT: Final[frozenset[Unit]] = frozenset({"chunk", "byte"})
"""Units that both sides count alike."""


# --- to the provider ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Produced:
    """The work made a piece that counts `units`."""

    units: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A piece of `units` left for the payer."""

    units: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A piece waits until `units`, over all tabs, are covered."""

    units: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing more is delivered."""


@dataclass(frozen=True, slots=True)
class Grown:
    """The payer says that tab `tab` may grow to `amount`. `signature` is text, as it came. `final`: it signs nothing
    more, and this may be less than it was asked for; or, where it gives up, less than is signed."""

    tab: int
    amount: int
    signature: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """The payer opened tab `tab` with a payment that was verified under the same terms. `final` as above."""

    tab: int
    payment: Verified
    final: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


# --- from the provider ----------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Cost:
    """Answers Produced: `units`, over all tabs, must be covered, and committed, before the piece leaves."""

    units: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Tell the payer what was delivered under the tab and what is wanted for it: `invoke.payment_due`."""

    tab: int
    units: int
    amount: int
    final: bool


@dataclass(frozen=True, slots=True)
class Covered:
    """The payer signed `amount` under the authorisation of that ledger key: commit it."""

    key: str
    amount: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class Lowered:
    """At the end: the payer signed `amount`, for what was delivered, in place of more. Commit it."""

    key: str
    amount: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class Rolled:
    """Tab `tab` began with `payment`: commit it. What was signed under the one before is all that it comes to. `base`
    is how many units the tabs before have paid for."""

    tab: int
    payment: Verified
    base: int


# --- to the payer ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Received:
    """A piece of the output came: `size` bytes, as they count against maxOutputBytes."""

    size: int


@dataclass(frozen=True, slots=True)
class Supplied:
    """A piece of the input went: `size` bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class Asked:
    """The provider says that it delivered `units` under tab `tab`, and wants `amount` signed in all; at the end that
    may be less than is signed."""

    tab: int
    units: int
    amount: int
    final: bool


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The caller gives the call up."""


# --- from the payer -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Authorise:
    """Commit, sign and send this. `final`: it is all that the call may cost, and may be less than was asked for."""

    tab: int
    authorization: Authorization
    final: bool = False


@dataclass(frozen=True, slots=True)
class OpenTab:
    """The same for a new tab, under a new nonce, which begins with `amount`."""

    tab: int
    amount: int
    final: bool = False


# --- from the payer, and so to the provider -------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Exhausted:
    """The call has cost all that it may: nothing more is signed. Answers what was asked for tab `tab`."""

    tab: int


# --- from both ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Stop:
    """End the call: it is not as agreed, or is paid for no further. What was signed stays signed, nothing more is."""

    fault: PaymentFault


ProviderInput = Produced | Sent | Wanted | Finished | Grown | Opened | Exhausted | Tick
ProviderOutput = Cost | Ask | Covered | Lowered | Rolled | Stop
PayerInput = Received | Supplied | Asked | GivenUp
PayerOutput = Authorise | OpenTab | Exhausted | Stop


def least_window_s(terms: PriceTerms) -> int:
    """How long an authorisation must hold that opens a tab: another is asked for so long before its end."""
    return min(limits.PAYMENT_TAB_END_S + limits.PAYMENT_PATIENCE_S, terms.max_timeout_s // 2)

"""What a provider is owed under one authorisation: the rules by which a charge comes about, grows and ends.

    reserved ──> due ──> submitted ──> settled | lost
        └──> released ──> reserved (the same authorisation, tried again)
              due ──> released (a tab that followed another, and was not used)

A charge is named by chain, asset, payer and nonce, the four by which the token knows an authorisation; never by the
signature, of which there are several. The store applies these functions to its rows, each in one transaction; the gate
decides when. Times are unix milliseconds, except those of the authorisation, which are unix seconds as on the chain.
(specs/payment-gate.md)
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from nexusd_protocols import limits
from nexusd_protocols.errors import LocalProtocolError
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.authorization import Authorization

UNASKED: Final = "its time is over, and there was no node to ask"
"""Why a charge is lost of which nobody knows more, nor whether its payer meant well."""


class State(enum.StrEnum):
    """Of a charge."""

    RESERVED = "reserved"
    DUE = "due"
    SUBMITTED = "submitted"
    SETTLED = "settled"
    LOST = "lost"
    RELEASED = "released"


LIVE: Final = frozenset({State.RESERVED, State.DUE, State.SUBMITTED})
"""What the payer's balance still has to cover."""
OWED: Final = frozenset({State.DUE, State.SUBMITTED, State.SETTLED})
"""The work may be handed over."""


class Delivered(enum.StrEnum):
    """How much of the work was handed over. ALL also says that the result is kept, or that nothing more will come. A
    call with several tabs keeps its result and receipt with the first; the others stay at PART."""

    NOTHING = "nothing"
    PART = "part"
    ALL = "all"


class KeyParts(NamedTuple):
    """What a ledger key is made of: `network` in CAIP-2, the others lower hexadecimal without 0x."""

    network: str
    asset: str
    payer: str
    nonce: str

    @property
    def asset_id(self) -> str:
        """As `Token.asset_id`."""
        return f"{self.network}/{self.asset}"


def key_parts(key: str) -> KeyParts:
    """Take a ledger key apart. Raises ValueError."""
    parts = key.split("/")
    if len(parts) != 4 or [len(part) for part in parts[1:]] != [40, 40, 64]:
        raise ValueError("not a ledger key")
    return KeyParts(*parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A verified authorisation and the call that it is shown for. `request` is the digest of the call; of a tab the
    authorisation is the highest that was signed, and `number` its place among the tabs of the call."""

    key: str
    agent: AgentId
    peer: PeerId
    capability: CapabilityName
    request: bytes
    authorization: Authorization
    signature: bytes
    tab: bool = False
    number: int = 0

    @property
    def amount(self) -> int:
        """What is signed, in the asset's smallest unit."""
        return self.authorization.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the work came to. `data` is kept up to `limits.PAYMENT_RESULT_BYTES`, whole or not at all; always kept are
    `digest` (SHA-256) and `size`."""

    digest: bytes = b""
    size: int = 0
    data: bytes | None = None


NO_RESULT: Final = Result()


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One row of the ledger. `working`: somebody is at it now. `attempts`: how often work was begun. `input` is the
    SHA-256 of what is worked on, if output began before it was whole and the input was whole by then. `transaction` is
    the newest one (0x…), `block` where it was settled, `reason` why it was released or lost."""

    entry: Reservation
    state: State = State.RESERVED
    working: bool = True
    attempts: int = 1
    delivered: Delivered = Delivered.NOTHING
    input: bytes = b""
    result: Result = NO_RESULT
    receipt: bytes = b""
    transaction: str = ""
    block: int = 0
    reason: str = ""
    created_at: int = 0
    changed_at: int = 0
    position: int = 0

    @property
    def open_tab(self) -> bool:
        """Whether it may still grow, so that it is not settled yet."""
        return self.entry.tab and self.working

    @property
    def live(self) -> int:
        """What it takes of the payer's balance and of the exposure."""
        return self.entry.amount if self.state in LIVE else 0

    @property
    def size(self) -> int:
        """What it counts against a page."""
        return len(self.receipt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How much may be owed and not settled, in the asset's smallest unit, by one payer and by all; and in how many
    charges by one payer. A payer is an account, and a peer from whatever accounts it pays."""

    payer: int
    total: int
    charges: int = limits.PAYMENT_LIVE_CHARGES


class Owing(NamedTuple):
    """Sums over live charges in one asset: of the account that pays, how many (or of the peer, if these are more), of
    all, and of the peer that shows them."""

    payer: int = 0
    charges: int = 0
    total: int = 0
    peer: int = 0


@dataclass(frozen=True, slots=True)
class Reserved:
    """The work may begin. `charge.state` is OWED already if it was paid for earlier and never handed over whole."""

    charge: Charge


@dataclass(frozen=True, slots=True)
class Known:
    """The same authorisation for the same call by the same peer: what became of it."""

    charge: Charge


@dataclass(frozen=True, slots=True)
class Refused:
    """An expected "no", with a code of `faults.CODES`. `passes`: what is owed already is in the way, and some of that
    may be settled soon."""

    code: str
    detail: str = ""
    passes: bool = False


class ChargeStateError(LocalProtocolError):
    """This program asked for a step that the charge's state does not allow."""


# --- coming about -----------------------------------------------------------------------------------------------------
def reserve(
    known: Charge | None, entry: Reservation, *, now: int, balance: int | None, owing: Owing, exposure: Exposure
) -> Reserved | Known | Refused:
    """Take an authorisation for a call, once. `balance` is the payer's, None if there is no chain to ask; `owing` is
    summed in the transaction that stores the answer."""
    if known is not None:
        if not same_call(known.entry, entry):
            return Refused(faults.USED, "it was shown for another call")
        again = _again(known, entry, now)
        if again is not None:
            return again
    if expired(entry, now):
        return Refused(faults.VALID_BEFORE)
    if refusal := _over(entry.amount, balance, owing, exposure, new=1):
        return refusal
    if known is None:
        return Reserved(Charge(entry=entry, created_at=now, changed_at=now))
    return Reserved(
        replace(
            known,
            entry=entry,
            state=State.RESERVED,
            working=True,
            attempts=known.attempts + 1,
            reason="",
            changed_at=now,
        )
    )


def same_call(one: Reservation, other: Reservation) -> bool:
    """Whether an authorisation is shown again for what it was shown for: anybody may have seen it in a transaction."""
    return (one.request, one.peer, one.agent, one.capability, one.tab) == (
        other.request,
        other.peer,
        other.agent,
        other.capability,
        other.tab,
    )


def resumable(charge: Charge) -> bool:
    """Whether it is owed and was not handed over, through our fault: then the work is done again, for the same input,
    and costs nothing. Of a tab what was paid for was handed over."""
    return redoable(charge) and not charge.working


def redoable(charge: Charge) -> bool:
    """Whether it will be resumable if the work breaks off now. Whose input was not whole when output began could have
    another answer for each attempt."""
    return (
        charge.state in OWED and charge.delivered is not Delivered.ALL and charge.input != b"" and not charge.entry.tab
    )


def _again(known: Charge, entry: Reservation, now: int) -> Reserved | Known | Refused | None:
    """The answer to a call that is known; None if it is to be reserved anew."""
    if known.state is not State.RELEASED and not resumable(known):
        return Known(known)
    if known.attempts >= limits.PAYMENT_ATTEMPTS:
        return Refused(faults.ATTEMPTS)
    if known.state is State.RELEASED:
        return None
    return Reserved(replace(known, working=True, attempts=known.attempts + 1, changed_at=now))


def _over(
    amount: int, balance: int | None, owing: Owing, exposure: Exposure, *, new: int, held: int = 0
) -> Refused | None:
    """`held` is what the charge takes already."""
    if balance is not None and owing.payer - held + amount > balance:
        # a settlement takes as much of the balance as of what is owed, and is seen in the balance first
        return Refused(
            faults.INSUFFICIENT_FUNDS,
            "the balance does not cover what is owed already and this",
            passes=amount <= balance,
        )
    if max(owing.payer, owing.peer) - held + amount > exposure.payer:
        return Refused(faults.EXPOSURE, "by this payer", passes=True)
    if owing.total - held + amount > exposure.total:
        return Refused(faults.EXPOSURE, "by all payers together", passes=True)
    if owing.charges + new > exposure.charges:
        return Refused(faults.BUSY, passes=True)
    return None


def expired(entry: Reservation, now: int) -> bool:
    """Whether it is too late to settle it."""
    return now // 1000 >= entry.authorization.valid_before - limits.PAYMENT_MARGIN_S


# --- on the way -------------------------------------------------------------------------------------------------------
def due(charge: Charge, *, amount: int, result: Result | None, receipt: bytes, now: int, input_: bytes = b"") -> Charge:
    """The charge point: from here on it is owed, whatever happens. With a result the work is whole; without, output
    begins, for the input of that digest. Asking again changes nothing, nor does asking what was lost meanwhile. Raises
    ChargeStateError."""
    if charge.state is State.LOST:
        return charge
    if charge.state not in OWED:
        _expect(charge, State.RESERVED)
        if amount != charge.entry.amount:
            raise ChargeStateError(f"{amount} is not what was signed")
    elif charge.delivered is Delivered.ALL:
        return charge
    state = State.DUE if charge.state is State.RESERVED else charge.state
    if result is None:
        return replace(charge, state=state, delivered=Delivered.PART, input=charge.input or input_, changed_at=now)
    return finish(replace(charge, state=state), result=result, receipt=receipt, now=now)


def finish(charge: Charge, *, result: Result, receipt: bytes, now: int) -> Charge:
    """All of it was produced, and may be handed over; a tab is closed. What was lost meanwhile stays as it is. Raises
    ChargeStateError."""
    _expect(charge, *OWED, State.LOST)
    if charge.state is State.LOST or charge.delivered is Delivered.ALL:
        return charge
    kept = result if result.data is None or len(result.data) <= limits.PAYMENT_RESULT_BYTES else drop_data(result)
    return replace(charge, working=False, delivered=Delivered.ALL, result=kept, receipt=receipt, changed_at=now)


def drop_data(result: Result) -> Result:
    """The result by what names it."""
    return replace(result, data=None)


def interrupt(charge: Charge, *, now: int) -> Charge:
    """The work ended through our fault after the charge point. What cannot be done again is over with what was handed
    over; a tab is closed with what was signed. Raises ChargeStateError."""
    _expect(charge, *OWED, State.LOST)
    if charge.state is State.LOST or charge.delivered is Delivered.ALL:
        return charge
    return replace(
        charge,
        working=False,
        delivered=charge.delivered if redoable(charge) else Delivered.ALL,
        changed_at=now,
    )


def grow(
    charge: Charge, *, amount: int, signature: bytes, now: int, balance: int | None, owing: Owing, exposure: Exposure
) -> Charge | Refused:
    """A tab: more is signed under the same nonce. What is lower or equal changes nothing."""
    if not charge.open_tab or charge.state not in (State.RESERVED, State.DUE):
        return Refused(faults.TAB_FAULT, "the tab is closed")
    if amount <= charge.entry.amount:
        return charge
    if expired(charge.entry, now):
        return Refused(faults.VALID_BEFORE)
    if refusal := _over(amount, balance, owing, exposure, new=0, held=charge.entry.amount):
        return refusal
    more = replace(charge.entry.authorization, value=amount)
    return replace(charge, entry=replace(charge.entry, authorization=more, signature=signature), changed_at=now)


def lower(charge: Charge, *, amount: int, signature: bytes, now: int) -> Charge:
    """A tab, at its end: less is signed under the same nonce, for what was delivered. What is no less, or is on its way
    to the chain, changes nothing."""
    if not charge.open_tab or charge.state is not State.DUE or not 0 < amount < charge.entry.amount:
        return charge
    less = replace(charge.entry.authorization, value=amount)
    return replace(charge, entry=replace(charge.entry, authorization=less, signature=signature), changed_at=now)


def waive(charge: Charge, *, now: int) -> Charge:
    """A tab that followed another, under which nothing was handed over: it is not charged. What is on its way to the
    chain is only shut. Raises ChargeStateError."""
    if not charge.open_tab or charge.state is not State.DUE:
        return shut(charge, now=now)
    return replace(charge, state=State.RELEASED, working=False, reason="nothing was delivered under it", changed_at=now)


def shut(charge: Charge, *, now: int) -> Charge:
    """A tab grows no more, and is settled; its call may go on under another. Asking again changes nothing. Raises
    ChargeStateError."""
    _expect(charge, *OWED, State.LOST)
    return replace(charge, working=False, changed_at=now) if charge.open_tab else charge


def roll(
    before: Charge,
    known: Charge | None,
    entry: Reservation,
    *,
    now: int,
    balance: int | None,
    owing: Owing,
    exposure: Exposure,
) -> tuple[Charge, Reserved | Known | Refused]:
    """A tab follows another in the same call: `before` is shut, and what was signed under the new one is due, as far as
    there is room for it; the call has begun, and what was signed for it is charged. Raises ChargeStateError."""
    old = shut(before, now=now)
    if old.state is State.LOST:
        return old, Refused(faults.LOST)
    answer = reserve(known, entry, now=now, balance=balance, owing=owing, exposure=exposure)
    if isinstance(answer, Reserved):
        answer = Reserved(due(answer.charge, amount=entry.amount, result=None, receipt=b"", now=now))
    return old, answer


def release(charge: Charge, *, reason: str, now: int) -> Charge:
    """Nothing was handed over, and nothing is owed. Asking again changes nothing. Raises ChargeStateError."""
    if charge.state is State.RELEASED:
        return charge
    _expect(charge, State.RESERVED)
    return replace(charge, state=State.RELEASED, working=False, reason=reason, changed_at=now)


# --- the end ----------------------------------------------------------------------------------------------------------
def submitted(charge: Charge, *, transaction: str, now: int) -> Charge:
    """A transaction that pays it is about to be sent, the first or another. A tab is shut by it. Raises
    ChargeStateError."""
    _expect(charge, State.DUE, State.SUBMITTED)
    return replace(shut(charge, now=now), state=State.SUBMITTED, transaction=transaction, changed_at=now)


def settled(charge: Charge, *, transaction: str, block: int, now: int) -> Charge:
    """The chain has it, by whatever transaction; what was thought lost too. Raises ChargeStateError."""
    if charge.state is State.SETTLED:
        return charge
    _expect(charge, State.DUE, State.SUBMITTED, State.LOST)
    return replace(
        shut(charge, now=now), state=State.SETTLED, transaction=transaction, block=block, reason="", changed_at=now
    )


def lost(charge: Charge, *, reason: str, now: int) -> Charge:
    """It will never be paid, and nobody is given what it was for. Raises ChargeStateError."""
    if charge.state is State.LOST:
        return charge
    _expect(charge, State.DUE, State.SUBMITTED)
    result = drop_data(charge.result)
    return replace(charge, state=State.LOST, working=False, result=result, reason=reason, changed_at=now)


def reopened(charge: Charge, *, reason: str, now: int) -> Charge:
    """It is due again: the chain took the settlement back (a reorganisation), or can be asked at last. Raises
    ChargeStateError."""
    if charge.state is not State.LOST or charge.reason != UNASKED:
        _expect(charge, State.SETTLED, State.SUBMITTED)
    return replace(charge, state=State.DUE, block=0, reason=reason, changed_at=now)


def recovered(charge: Charge, *, now: int) -> Charge:
    """After a restart nobody is at it: what was reserved was not handed over, what is owed stays owed."""
    if charge.state is State.RESERVED:
        return release(charge, reason="not delivered", now=now)
    return interrupt(charge, now=now) if charge.working and charge.state in OWED else replace(charge, working=False)


def _expect(charge: Charge, *states: State) -> None:
    if charge.state not in states:
        raise ChargeStateError(f"the charge is {charge.state}, and not {' or '.join(states)}")

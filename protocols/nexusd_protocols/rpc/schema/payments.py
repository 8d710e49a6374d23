"""Wallets and payments, as a client asks for them.

Amounts are decimal text of whole tokens ("0.10"); addresses are 0x… with their checksum. A wallet's password goes in,
and neither it nor a key ever comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from nexusd_protocols import limits
from nexusd_protocols.rpc.schema.shape import Acting, Page, Params, Result

Password = Annotated[str, Meta(min_length=1, max_length=1024)]
Decimal = Annotated[str, Meta(max_length=96)]
"""Of whole tokens, such as 0.10."""
Network = Annotated[str, Meta(min_length=1, max_length=64)]
"""base, base-sepolia, ethereum, polygon, or eip155:<chain id>."""
PriceUnit = Literal["piece", "byte", "token", "second"]
"""What a tab of this daemon counts: of output, of output, of output as its provider reports it, of work."""
Unit = Literal["call", PriceUnit, "token_in", "other"]
"""What is paid for: a call, or what a tab counts. Others may count tokens of input, and what is not known here."""
UNIT_WORDS: Final[Mapping[Unit, tuple[str, str]]] = {
    "call": ("call", "calls"),
    "piece": ("piece", "pieces"),
    "byte": ("byte", "bytes"),
    "token": ("token of output", "tokens of output"),
    "second": ("second", "seconds"),
    "token_in": ("token of input", "tokens of input"),
    "other": ("unit that is not known here", "units that are not known here"),
}
"""What people call them: one, and several."""
Level = Literal["offender", "stranger", "known", "trusted"]
"""Of a payer."""
PurchaseId = Annotated[str, Meta(min_length=1, max_length=128)]


class PriceSpec(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """What a call costs. `pay_to` is this daemon's wallet if it is left out. With `tab`, it is what `per` of `unit`
    cost, and the caller pays as they come: pieces or bytes of output, tokens as the provider reports them, or seconds
    of work. One tab then grows to what its payer is trusted with (the daemon's `tab_stranger`, `tab_known`,
    `tab_trusted`), to `cap` at most, and another follows it. An `amount` of 0 is free, for each peer so many times an
    hour as the daemon's `free_calls` says."""

    amount: Decimal
    network: Network = "base"
    asset: Annotated[str, Meta(min_length=1, max_length=16)] = "USDC"
    pay_to: Annotated[str, Meta(max_length=42)] | None = None
    tab: bool = False
    unit: PriceUnit = "piece"
    per: Annotated[int, Meta(ge=1, le=limits.PAYMENT_UNITS)] = 1
    cap: Decimal | None = None


class PriceView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What a call costs; with another `unit` than `call`, what `per` of them cost, paid by a tab as they come, `cap` at
    most for one. `amount` and `cap` are in whole tokens; where the token is not `known` here, in its smallest unit.
    `pay_to` is told of this daemon's own prices, and of what a call is asked to pay."""

    amount: str
    asset: str
    network: str
    unit: Unit = "call"
    per: int = 1
    cap: str | None = None
    pay_to: str | None = None
    known: bool = True

    def __str__(self) -> str:
        def money(amount: str) -> str:
            return f"{amount} {self.asset}" if self.known else f"{amount} smallest units of {self.asset}"

        where = f"on {self.network}" if self.network else "on a network that is not named"
        if self.unit == "call":
            return f"{money(self.amount)} {where}"
        one, many = UNIT_WORDS[self.unit]
        of = f"a {one}" if self.per == 1 else f"for {self.per} {many}"
        most = "" if self.cap is None else f", by tabs of {money(self.cap)} at most,"
        return f"{money(self.amount)} {of}{most} {where}"


class PaymentSummary(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What was paid for a call. `id` names the purchase and its receipt. `state`: paid, pending (sent to the chain, its
    outcome unknown), unused (the provider took nothing) or unknown. `receipt`: verified (and with how much of the
    input, if the provider took a part), none, or what is wrong. Of a call with tabs, `tabs` is how many there were, and
    `units` of `unit` were delivered, by the receipt."""

    id: str
    state: Literal["paid", "pending", "unused", "unknown"]
    amount: str
    asset: str
    network: str
    pay_to: str
    transaction: str = ""
    receipt: str = "none"
    note: str = ""
    tabs: int = 0
    units: int = 0
    unit: Literal[Unit, ""] = ""


# --- the wallet -----------------------------------------------------------------------------------------------------
class WalletNewParams(Params, frozen=True, kw_only=True):
    """Make a key, and keep it under a password."""

    password: Password


class WalletImportParams(Params, frozen=True, kw_only=True):
    """Keep a key that exists: a keystore (its JSON, opened by the password), or 32 bytes of hex."""

    password: Password
    keystore: Annotated[str, Meta(max_length=16 * limits.KIB)] | None = None
    key: Annotated[str, Meta(max_length=66)] | None = None


class WalletUnlockParams(Params, frozen=True, kw_only=True):
    """Open the wallet until the daemon stops."""

    password: Password


class WalletShow(Result, frozen=True, kw_only=True):
    """`path` is the keystore. Locked, it can be paid to but pays nothing and settles nothing. `gone`: the keystore was
    moved away, and the daemon goes on with what it read until it stops."""

    address: str
    path: str
    unlocked: bool
    gone: bool = False


class WalletBalance(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`amount` and `gas` (of the network's own coin) are None where no node is configured or it did not answer."""

    network: str
    asset: str
    online: bool
    amount: str | None = None
    gas: str | None = None
    problem: str = ""


class WalletBalances(Result, frozen=True, kw_only=True):
    address: str
    balances: list[WalletBalance]


class WalletBackup(Result, frozen=True, kw_only=True):
    """The keystore, encrypted as it is: useless without its password."""

    address: str
    keystore: str


# --- the payer ------------------------------------------------------------------------------------------------------
class PayPolicy(Result, frozen=True, kw_only=True):
    """What this agent's policy allows. None of an amount is no limit; `peers` and `capabilities` None is everybody and
    everything. `spent_*` is what counts now. `stopped`: the kill switch is on."""

    stopped: bool
    per_request: str | None
    per_hour: str | None
    per_day: str | None
    per_payee: str | None
    per_minute: int | None
    """Payments, whatever they cost."""
    approve_above: str | None
    approve_first: bool
    networks: list[str]
    assets: list[str]
    peers: list[str] | None
    capabilities: list[str] | None
    max_window_s: int
    spent_hour: str
    spent_day: str


class PayPolicySetParams(Acting, frozen=True, kw_only=True):
    """Change what is given; the rest stays. An amount `none` takes a limit away, and so does an empty list of
    `peers` or `capabilities`."""

    per_request: Decimal | None = None
    per_hour: Decimal | None = None
    per_day: Decimal | None = None
    per_payee: Decimal | None = None
    per_minute: Annotated[str, Meta(pattern=r"\A([0-9]{1,6}|none)\Z")] | None = None
    approve_above: Decimal | None = None
    approve_first: bool | None = None
    networks: Annotated[list[Network], Meta(max_length=64)] | None = None
    assets: Annotated[list[str], Meta(max_length=64)] | None = None
    peers: Annotated[list[str], Meta(max_length=1024)] | None = None
    capabilities: Annotated[list[str], Meta(max_length=1024)] | None = None
    max_window_s: Annotated[int, Meta(ge=1, le=limits.PAYMENT_TIMEOUT_S)] | None = None


class PayStopParams(Params, frozen=True, kw_only=True):
    """The kill switch: while it is on nothing is signed, whatever a policy says; over restarts too."""

    stopped: bool


class PayStopped(Result, frozen=True, kw_only=True):
    stopped: bool


class PurchaseView(Result, frozen=True, kw_only=True):
    """A payment of this agent's. `state`: waiting (for a person), intended, signed, spent, closed. `counts` is what it
    takes of the budgets now; of a closed one, what may have been spent. `note` and `outcome` may quote the provider;
    `unanswered` is the outcome of what nobody accounts for. Of a call with tabs, `tabs` is how many there are, and
    `signed` is what is signed under all of them. `charged`, of a spent one: what the provider says, or the chain, and
    no more than is signed."""

    id: str
    cursor: int
    at: int
    state: str
    peer: str
    capability: str
    amount: str
    signed: str
    counts: str
    asset: str
    network: str
    pay_to: str
    note: str = ""
    outcome: str = ""
    transaction: str = ""
    receipt: bool = False
    tabs: int = 0
    charged: str = ""


class PayListParams(Acting, frozen=True, kw_only=True):
    """A page, oldest first: behind `after`, or before `before`, or the newest. `receipts`: only of those that have a
    receipt."""

    after: int | None = None
    before: int | None = None
    limit: Page = 50
    receipts: bool = False


class PurchaseList(Result, frozen=True, kw_only=True):
    """`more`: whether another page follows in the direction asked for. `first`/`last`: cursors to continue from."""

    purchases: list[PurchaseView]
    more: bool = False
    first: int | None = None
    last: int | None = None


class PayIdParams(Acting, frozen=True, kw_only=True):
    """`id`: whole, or its beginning, of 6 characters at least, where no other begins so."""

    id: PurchaseId


class TabView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One tab of a call: what was signed last under its authorisation, and until when that holds."""

    key: str
    amount: str
    valid_before: int


class PayExplained(Result, frozen=True, kw_only=True):
    """Everything that is known of one payment. `explanation`: what its state means, where that is not plain.
    `authorization` is the newest of several `tabs`. `response` is the provider's, as it came: untrusted; `receipt` is
    what it signed."""

    purchase: PurchaseView
    explanation: str = ""
    authorization: dict[str, Any] | None = None
    key: str = ""
    counts_until: int | None = None
    tabs: list[TabView] = []
    response: Any = None
    receipt: str = ""


class PayVerifyParams(Params, frozen=True, kw_only=True):
    """A receipt: the JWS that a provider signed."""

    receipt: Annotated[str, Meta(max_length=limits.RECEIPT_BYTES)]


class PayVerified(Result, frozen=True, kw_only=True):
    """`valid`: signed by the provider that it names; it then says what was delivered for what. `amount` is that of the
    receipt in whole tokens; of a token that is not known here in its smallest unit, and `asset` is its contract."""

    valid: bool
    problem: str = ""
    amount: str = ""
    asset: str = ""
    network: str = ""
    receipt: dict[str, Any] | None = None


# --- the provider ---------------------------------------------------------------------------------------------------
class PaySettleParams(Acting, frozen=True, kw_only=True):
    """A page of charges, oldest first: behind `after`, or before `before`, or the newest."""

    after: int | None = None
    before: int | None = None
    limit: Page = 50


class NetworkState(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`online`: a node is configured; without one charges are checked by their form and signature alone (unfunded).
    `settles`: it answers, is the right chain, and the wallet that pays the gas is open."""

    network: str
    online: bool
    settles: bool
    problem: str = ""


class ChargeTotal(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Sums of charges in one asset and state."""

    network: str
    asset: str
    state: str
    charges: int
    amount: str


class ChargeView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One charge: `state` is reserved, due, submitted, settled, lost or released. `tab` is its place among the tabs of
    its call, from 1 on, which all name the same `request`. `unfunded`: no chain is asked. `reason`: why it ended, or
    what it waits for until `validBefore`, behind which it cannot be settled."""

    key: str
    cursor: int = 0
    at: int
    state: str
    peer: str
    capability: str
    amount: str
    asset: str
    network: str
    payer: str
    pay_to: str
    valid_before: int
    transaction: str = ""
    block: int = 0
    reason: str = ""
    unfunded: bool = False
    tab: int = 0
    request: str = ""


class PaySettleStatus(Result, frozen=True, kw_only=True):
    """`more`: whether another page of charges follows in the direction asked for. `first`/`last`: cursors to continue
    from."""

    networks: list[NetworkState]
    totals: list[ChargeTotal]
    charges: list[ChargeView]
    more: bool = False
    first: int | None = None
    last: int | None = None


# --- who pays here --------------------------------------------------------------------------------------------------
class PayTrustParams(Params, frozen=True, kw_only=True):
    """With a `peer`, its level too."""

    peer: str | None = None


class LevelView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What a payer of a level may have: whole tokens in one tab, and owed without being settled. `held`: other output
    waits until it is settled."""

    level: Level
    tab: str
    exposure: str
    held: bool


class OffenceView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A payment that its payer took back, or let fail; it stands against the peer and the account."""

    key: str
    at: int
    peer: str
    payer: str
    capability: str
    amount: str
    asset: str
    network: str
    reason: str


class PayTrust(Result, frozen=True, kw_only=True):
    """How far payers are trusted. Amounts are of whole tokens; `offline` bounds them all where no chain is asked."""

    levels: list[LevelView]
    total: str
    offline: str
    known_after: int
    trusted: list[str]
    offences: list[OffenceView]
    peer: str | None = None
    level: Level | None = None


class PayClearParams(Params, frozen=True, kw_only=True):
    """Whom to let off: a peer, or an account (0x…)."""

    who: Annotated[str, Meta(min_length=1, max_length=128)]


class PayCleared(Result, frozen=True, kw_only=True):
    """How many payments stood against it."""

    cleared: int


# --- what was used --------------------------------------------------------------------------------------------------
class PayUsageParams(Acting, frozen=True, kw_only=True):
    """Over whole days (UTC), from that of `since` on (unix milliseconds)."""

    since: Annotated[int, Meta(ge=0)] = 0


class UsageView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Sums over the calls of one capability with one peer; `in`: the peer called. `failed` are some of `calls`,
    `notBegun` none of them: what asked for a price alone, was not paid for, or was refused. `units` of `unit` were paid
    with `amount`; both are empty where nothing was. What is old is kept by months and without peers (`peer` is
    empty)."""

    peer: str
    capability: str
    direction: Literal["in", "out"]
    calls: int
    failed: int
    not_begun: int = 0
    input_bytes: int
    output_bytes: int
    duration_ms: int
    units: int
    unit: Literal[Unit, ""]
    amount: str
    asset: str
    network: str
    last_at: int


class PayUsage(Result, frozen=True, kw_only=True):
    rows: list[UsageView]

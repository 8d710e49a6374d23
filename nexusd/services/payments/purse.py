"""Paying for calls: a demand, the policy's word, a person's where it asks for one, and a signature last.

demand -> read -> of each offer, the cheapest first: policy -> funds -> policy + budget (one transaction)
       -> [a person] -> sign -> keep -> show

The first offer that the policy allows, and that the wallet can fund as far as a chain is there to ask, is paid.
What was signed is on disk before it is shown to anybody, under an id that names the purchase for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any, Final, Literal

import msgspec
import structlog
import trio

from nexusd.services.payments import objections
from nexusd.services.payments.payment import Chosen, Payment
from nexusd.services.payments.policies import Policies
from nexusd.services.payments.receipts import verdict
from nexusd.services.ports import Emit, Entropy, LiveEvent, WallClock
from nexusd.services.prices import unit_of
from nexusd.services.trade import Ended, Wish
from nexusd.store.ledger import Purchases
from nexusd.store.ledger.purchases import Intended, NeedsApproval, Resumed
from nexusd_protocols import limits, ndjson
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.invoke import commands
from nexusd_protocols.payments import advertised, binding, faults, policy, published, receipt, x402
from nexusd_protocols.payments.address import Address, checksummed
from nexusd_protocols.payments.advertised import Price
from nexusd_protocols.payments.authorization import Account, Authorization, sign
from nexusd_protocols.payments.binding import Context
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.money import show
from nexusd_protocols.payments.policy import Decision, Refuse, Spent, measured
from nexusd_protocols.payments.purchase import Intent, PurchaseRow, PurchaseState, PurchaseStateError, Signed
from nexusd_protocols.payments.tab import AHEAD
from nexusd_protocols.payments.tab_payer import TabPayer
from nexusd_protocols.payments.terms import Offer, PriceTerms, Required, read_required
from nexusd_protocols.payments.tokens import Token, Tokens, network_name
from nexusd_protocols.payments.x402 import Settlement
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import PaymentSummary

log = structlog.get_logger(__name__)

Advertised = Callable[[PeerId, str], Sequence[Price]]
"""The prices that a provider published for a capability, as far as they were looked up; none where they were not."""
Holds = Callable[[Token, Address], Awaitable[int | None]]
"""What an account has of a token, in its smallest unit; None where nobody can tell."""

SALT_BYTES: Final = 32
OTHER_REQUEST: Final = (
    "What was paid for under this id was asked for otherwise: --stream, --text, --max-duration, --max-input and "
    "--max-output must be as they were"
)
_NOTE_CHARS: Final = 256
_MOST_COST: Final = 1 << 62
_AHEAD_SHARE: Final = 2
"""Of what a call may cost, the part that may be signed before anything came, where that is more than is usual."""


class Purse:
    """See `trade.Purse`."""

    def __init__(
        self,
        *,
        purchases: Purchases,
        policies: Policies,
        tokens: Tokens,
        clock: WallClock,
        entropy: Entropy,
        emit: Emit,
        account: Callable[[], Account | None],
        published_prices: Advertised,
        holds: Holds,
        has_wallet: Callable[[], bool],
    ) -> None:
        self._purchases = purchases
        self._policies = policies
        self._tokens = tokens
        self._clock = clock
        self._entropy = entropy
        self._emit = emit
        self._account = account
        self._prices_of = published_prices
        self._holds = holds
        self._has_wallet = has_wallet
        self._waiting: dict[str, trio.Event] = {}
        self._under_way: set[str] = set()

    @property
    def tokens(self) -> Tokens:
        """See `trade.Purse`."""
        return self._tokens

    async def pay(self, wish: Wish) -> Payment | Refusal:
        """See `trade.Purse`."""
        demand = _read(wish, self._tokens)
        if isinstance(demand, Refusal):
            return demand
        account = self._account()
        if account is None:
            return Refusal("wallet_locked" if self._has_wallet() else "no_wallet")
        known = await self._purchases.get(wish.id)
        if known is not None:
            return await self._show_again(wish, demand, known, account)
        rules = await self._policies.of(wish.agent)
        if await self._purchases.stopped():
            return objections.STOPPED
        offers = _cheapest_first(demand.offers, tab=wish.tab)
        if demand.offers and not offers:
            how = "wants a tab, and the call did not allow one (`nexus invoke --tab`)"
            if wish.tab:
                how = "has a price for the whole call, and no tab: call without `--tab`"
            return Refusal("payment_refused", f"The provider {how}")
        refused: list[Refusal] = []
        held: dict[Token, int | None] = {}
        for offer in offers:
            chosen = Chosen(demand, offer, bare=wish.demanded.required is None)
            answer = await self._buy(wish, chosen, rules, account, held)
            if not isinstance(answer, Refusal) or answer.code != "payment_refused":
                return answer
            refused.append(answer)
        if not refused:
            why = ", ".join(dict.fromkeys(fault.words for fault in demand.faults))
            reason = {"reason": demand.faults[0].code} if demand.faults else None
            return Refusal("payment_refused", f"Nothing of what is asked for can be paid here: {why}", reason)
        return objections.together(refused)

    async def _show_again(
        self, wish: Wish, demand: Required, known: PurchaseRow, account: Account
    ) -> Payment | Refusal:
        """What paid for the same call before: nothing is signed, so that no more is paid, whatever is asked now."""
        was, signed = known.intent, known.signed
        if refusal := _of_another(known, wish.agent, wish.peer, wish.capability):
            return refusal
        assert signed is not None
        if was.request != wish.request:
            return Refusal("payment_refused", OTHER_REQUEST)
        if await self._purchases.stopped():
            return objections.STOPPED
        for offer in demand.offers:
            terms = offer.terms
            if signed.key == signed.authorization.key(terms.token) and terms.pay_to == was.pay_to:
                bare = wish.demanded.required is None
                pay = commands.Pay(payment=msgspec.json.decode(signed.payload))
                if bare:
                    pay = commands.Pay(
                        proof=published.render_proof(signed.authorization, signed.signature, terms.token)
                    )
                self._under_way.add(wish.id)
                return Payment(self, wish, Chosen(demand, offer, bare=bare), pay, signed, account, None)
        return Refusal("payment_refused", "The provider takes another asset now, or another account's payments")

    async def not_again(self, id_: str, agent: AgentId, peer: PeerId, capability: CapabilityName) -> Refusal | None:
        """See `trade.Purse`."""
        known = await self._purchases.get(id_)
        if known is None:
            return Refusal("payment_unknown", f"There is no payment {id_!r}")
        return _of_another(known, agent, peer, capability)

    def is_under_way(self, purchase: str) -> bool:
        """Whether the call that it was signed for goes on, and may sign more."""
        return purchase in self._under_way

    def decided(self, purchase: str) -> None:
        """A person decided: whoever waits goes on."""
        if (event := self._waiting.get(purchase)) is not None:
            event.set()

    # --- buying -------------------------------------------------------------------------------------------------------
    async def _buy(
        self, wish: Wish, chosen: Chosen, rules: policy.Policy, account: Account, held: dict[Token, int | None]
    ) -> Payment | Refusal:
        """`held` is what is known of the wallet: a demand may name one token many times."""
        terms, now = chosen.terms, self._clock()
        wanted = self._wanted(wish, terms, account.address)
        if isinstance(wanted, Refusal):
            return wanted
        # what is refused whatever was spent needs no look at the chain
        if isinstance(verdict := policy.decide(rules, Spent(), wanted, now // 1000), Refuse):
            return objections.against(terms, verdict.code, objections.of_policy(verdict.code, rules, wanted))
        needed = terms.ahead if wish.tab else wanted.amount
        if refusal := await self._not_funded(terms, account.address, needed, held):
            return refusal
        intended = await self._intend(wish, chosen, wanted, rules, now)
        if isinstance(intended, Refusal):
            return intended
        try:
            if isinstance(intended, NeedsApproval):
                refusal = await self._wait(intended.row, terms)
                if refusal is not None:
                    return refusal
            payment = await self._sign(wish, chosen, account, wanted.amount)
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            await self._give_up(wish.id)
            raise
        return payment

    def _wanted(self, wish: Wish, terms: PriceTerms, own: Address) -> policy.Purchase | Refusal:
        """What would be bought; or what speaks against the offer, whatever the policy says."""
        if terms.pay_to == own:
            return objections.against(terms, "own_wallet", "it is paid to this wallet: who pays itself moves nothing")
        said = self._prices_of(wish.peer, wish.capability)
        if said and not advertised.keeps(terms, said):
            return objections.against(
                terms, "other_price", "it published another price (look again: `nexus find capability`)"
            )
        try:
            most = terms.token.parse(wish.max_price)
        except ValueError as error:
            return Refusal("invalid_params", f"max_price: {error}")
        amount = most if wish.tab else terms.amount  # under all tabs
        if terms.ahead > amount:
            begins = (
                f"the tab begins with {terms.token.show(terms.ahead)}: more than this call may cost (`--max-price`)"
            )
            return objections.against(terms, policy.PER_CALL, begins)
        if wish.tab and terms.ahead > max(amount // _AHEAD_SHARE, terms.cost(AHEAD[terms.unit])):
            # what is signed before anything came can be taken for nothing: a tab pays for what was delivered
            return objections.against(
                terms, "far_ahead", f"the tab wants {terms.token.show(terms.ahead)} signed before anything comes"
            )
        if measured(amount, terms.token.decimals) >= _MOST_COST:
            return Refusal("payment_refused", "No purse holds that much")
        return policy.Purchase(
            provider=wish.peer, capability=wish.capability, terms=terms, amount=amount, max_price=most
        )

    async def _not_funded(
        self, terms: PriceTerms, own: Address, needed: int, held: dict[Token, int | None]
    ) -> Refusal | None:
        if terms.token not in held:
            held[terms.token] = await self._holds(terms.token, own)
        have = held[terms.token]
        if have is None or have >= needed:
            return None
        words = f"the wallet holds {terms.token.show(have)} there, and needs {terms.token.show(needed)}"
        return objections.against(terms, faults.INSUFFICIENT_FUNDS, f"{words} (send it some: `nexus wallet show`)")

    async def _intend(
        self, wish: Wish, chosen: Chosen, wanted: policy.Purchase, rules: policy.Policy, now: int
    ) -> Intended | NeedsApproval | Refusal:
        """The policy's word, with the budget taken in the same transaction."""
        terms = chosen.terms
        intent = Intent(
            id=wish.id,
            agent=wish.agent,
            peer=wish.peer,
            capability=wish.capability,
            request=wish.request,
            asset=terms.token.asset_id,
            pay_to=terms.pay_to,
            amount=wanted.amount,
            cost=measured(wanted.amount, terms.token.decimals),
            tab=wish.tab,
            note=chosen.demand.error[:_NOTE_CHARS],
        )

        def judge(spent: Spent) -> Decision:
            return policy.decide(rules, spent, wanted, now // 1000)

        try:
            with trio.CancelScope(shield=True):  # who gives up must know whether the budget was taken
                intended = await self._purchases.intend(intent, judge, now=now)
        except PurchaseStateError:  # two calls were made with one id at once
            return Refusal("payment_refused", "Another call is paid for under this id")
        match intended:
            case Refuse(code):
                return objections.against(terms, code, objections.of_policy(code, rules, wanted))
            case Resumed():
                return Refusal("payment_refused", "This call was paid for before")
            case _:
                return intended

    async def _give_up(self, id_: str) -> None:
        """Nothing of it was shown, so that it can cost nothing: its budget is free again."""
        self._under_way.discard(id_)
        with trio.CancelScope(shield=True):
            try:
                await self._purchases.closed(id_, "given up", self._clock(), unused=True)
            except OSError as error:
                log.error("purchase_not_closed", purchase=id_, error=str(error))

    async def _wait(self, row: PurchaseRow, terms: PriceTerms) -> Refusal | None:
        """Until a person decides."""
        id_ = row.intent.id
        self._waiting[id_] = trio.Event()
        data = {
            "id": id_,
            "peer": row.intent.peer,
            "capability": row.intent.capability,
            "amount": terms.token.show(row.intent.amount),
            "network": network_name(terms.token.chain_id),
        }
        self._emit(LiveEvent(kind="invoke", type="approval", at=self._clock(), data=data, peer=row.intent.peer))
        try:
            # it can be seen since it is on the disk, and may have been decided before anybody waited
            while (decided := await self._purchases.get(id_)) and decided.state is PurchaseState.WAITING:
                await self._waiting[id_].wait()
        finally:
            del self._waiting[id_]
        if decided is None or decided.state is not PurchaseState.INTENDED:
            return Refusal("payment_rejected")
        return None

    async def _sign(self, wish: Wish, chosen: Chosen, account: Account, budget: int) -> Payment | Refusal:
        terms = chosen.terms
        signed, payload = self.authorise(wish, chosen, account)
        with trio.CancelScope(shield=True):
            kept = await self._purchases.signed(wish.id, signed, self._clock())
        if isinstance(kept, Refuse):
            await self._close(wish.id, kept.code)
            return Refusal("payment_refused", str(kept))
        pay = commands.Pay(payment=payload)
        if chosen.bare:
            pay = commands.Pay(proof=published.render_proof(signed.authorization, signed.signature, terms.token))
        tab = TabPayer(terms, signed.authorization, budget=budget, now_s=self.now_s()) if wish.tab else None
        self._under_way.add(wish.id)
        return Payment(self, wish, chosen, pay, signed, account, tab)

    # --- for a payment under way --------------------------------------------------------------------------------------
    def authorise(
        self, wish: Wish, chosen: Chosen, account: Account, value: int | None = None
    ) -> tuple[Signed, dict[str, Any]]:
        """Sign an authorisation that is bound to the call, under a nonce of its own, and the payment that shows it.
        `value` is what a further tab begins with. It is to be kept before it is shown."""
        terms, salt = chosen.terms, self._entropy(SALT_BYTES)
        nonce = binding.nonce(Context(wish.peer, wish.request), binding.offer_digest(chosen.offer.raw), salt)
        authorization = x402.authorize(terms, account.address, nonce, self.now_s(), value=value)
        signature = sign(authorization, terms.token, account)
        payload = x402.payment(chosen.offer, chosen.demand, authorization, signature, salt)
        signed = Signed(
            key=authorization.key(terms.token),
            authorization=authorization,
            signature=signature,
            salt=salt,
            payload=ndjson.encode(payload),
        )
        return signed, payload

    async def grow(self, wish: Wish, more: Signed) -> Refusal | None:
        """Keep what is signed under a tab before it is shown. Whoever gives up must know what was kept: it counts."""
        with trio.CancelScope(shield=True):
            kept = await self._purchases.signed(wish.id, more, self._clock())
        return Refusal("payment_refused", str(kept)) if isinstance(kept, Refuse) else None

    async def roll(self, wish: Wish, chosen: Chosen, signed: Signed) -> Refusal | None:
        """Keep what opens the next tab before it is shown, if the policy, as it is now, still has nothing against the
        whole of the call."""
        terms, rules, now = chosen.terms, await self._policies.of(wish.agent), self._clock()
        most = terms.token.parse(wish.max_price)
        wanted = policy.Purchase(
            provider=wish.peer, capability=wish.capability, terms=terms, amount=most, max_price=most, approved=True
        )

        def judge(spent: Spent) -> Decision:
            return policy.decide(rules, spent, wanted, now // 1000)

        with trio.CancelScope(shield=True):  # as in `grow`
            kept = await self._purchases.rolled(wish.id, signed, judge, now)
        if isinstance(kept, Refuse):
            return Refusal("payment_refused", f"No further tab is opened: {kept}", {"reason": kept.code})
        return None

    async def stopped(self) -> bool:
        """Whether the kill switch is on: nothing is signed then."""
        return await self._purchases.stopped()

    def now_s(self) -> int:
        """Unix seconds."""
        return self._clock() // 1000

    async def _close(self, id_: str, outcome: str) -> None:
        await self._purchases.closed(id_, outcome, self._clock())

    # --- the end ------------------------------------------------------------------------------------------------------
    async def ended(
        self, wish: Wish, chosen: Chosen, how: Ended, signed: Sequence[Authorization]
    ) -> tuple[PaymentSummary, int]:
        """Keep what became of a purchase: its summary, and what was charged, as far as that is known, or else all that
        was signed. That counts as spent whatever the provider says: only time, or the chain, gives it back."""
        self._under_way.discard(wish.id)
        terms = chosen.terms
        answer: Settlement | PaymentFault | None = None
        if how.response is not None:
            answer = x402.read_settlement(how.response)
        settled = answer if isinstance(answer, Settlement) else None
        jws = settled.nexus_receipt if settled is not None else ""
        charged = sum(paid.value for paid in signed)
        if wish.tab and settled is not None and settled.amount is not None:
            charged = min(charged, settled.amount)  # what was signed last may have come too late to be taken
        pending = settled is not None and settled.pending
        checked = "none" if pending else verdict(jws, wish, terms, how, signed)  # of what is still to come
        taken = how.pieces > 0 or pending or (settled is not None and settled.success) or not how.code
        if taken:
            raw = b"" if settled is None else ndjson.encode(how.response)
            if len(raw) > limits.PAYMENT_BYTES and settled is not None:
                raw = ndjson.encode(settled.wire())
            await self._purchases.spent(wish.id, receipt=jws.encode(), response=raw, now=self._clock())
        elif settled is not None:
            await self._close(wish.id, settled.error)
        state: Literal["paid", "pending", "unused", "unknown"] = "unknown"
        if pending:
            state = "pending"
        elif taken:
            state = "paid"
        elif settled is not None:
            state = "unused"
        summary = PaymentSummary(
            id=wish.id,
            state=state,
            amount=show(charged, terms.token.decimals),
            asset=terms.token.symbol,
            network=network_name(terms.token.chain_id),
            pay_to=checksummed(terms.pay_to),
            transaction=settled.transaction if settled is not None else "",
            receipt=checked,
            note=settled.message[:_NOTE_CHARS] if settled is not None else "",
            tabs=len(signed) if wish.tab else 0,
            **_used(jws),
        )
        return summary, charged


def _of_another(known: PurchaseRow, agent: AgentId, peer: PeerId, capability: CapabilityName) -> Refusal | None:
    """Why what was paid cannot be shown for such a call."""
    was = known.intent
    if (was.agent, was.peer, was.capability) != (agent, peer, capability):
        return Refusal("payment_refused", f"It paid for {was.capability} of {was.peer}")
    if was.tab:
        return Refusal("payment_refused", "A tab paid for it: it is not taken up again")
    return (
        Refusal("payment_refused", "Nothing was signed for this call: make a new one") if known.signed is None else None
    )


def _cheapest_first(offers: Iterable[Offer], *, tab: bool) -> list[Offer]:
    """Those of the flow that the call allows, by what they cost in whole tokens; of tabs those of the unit that the
    provider names first. Whoever is asked twice chooses the same."""
    able = [offer for offer in offers if (offer.terms.flow == "tab") is tab]
    units: list[str] = list(dict.fromkeys(offer.terms.unit for offer in able))

    def merit(offer: Offer) -> tuple[int, Fraction, int, bytes]:
        terms = offer.terms
        amount = Fraction(terms.unit_price if tab else terms.amount, 10**terms.token.decimals)
        unit, each = advertised.rate(terms.unit, amount, terms.per)
        return units.index(unit), each, terms.token.chain_id, terms.token.address

    return sorted(able, key=merit)


def _used(jws: str) -> dict[str, Any]:
    """What was delivered, by the provider's receipt."""
    found = receipt.verify(jws) if jws else None
    if not isinstance(found, receipt.Receipt) or found.usage.unit is msgspec.UNSET:
        return {}
    return {"units": found.usage.units, "unit": unit_of(found.usage.unit)}


def _read(wish: Wish, tokens: Tokens) -> Required | Refusal:
    """The demand, for what was called; from x402's object, or a published provider's terms."""
    demanded = wish.demanded
    if demanded.required is not None:
        if ndjson.json_size(demanded.required) > limits.PAYMENT_BYTES:  # it is kept, and shown again
            return Refusal("payment_refused", f"The demand is over {limits.PAYMENT_BYTES} bytes")
        demand = read_required(demanded.required, tokens)
        if isinstance(demand, PaymentFault):
            return Refusal("payment_refused", f"The demand is malformed: {demand.words}", {"reason": demand.code})
        if (other := policy.concerns(demand, wish.peer, wish.capability)) is not None:
            return Refusal("payment_refused", str(other), {"reason": other.code})
        return demand
    assert demanded.terms is not None
    terms = published.read_terms(demanded.terms, tokens, wish.capability)
    if isinstance(terms, PaymentFault):
        return Refusal("payment_refused", f"The demand cannot be paid: {terms.words}", {"reason": terms.code})
    raw: dict[str, Any] = terms.requirements()
    return Required(wish.peer, wish.capability, (Offer(terms, raw),), (), "")

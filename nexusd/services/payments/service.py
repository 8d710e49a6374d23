"""Wallet and payments, as the doors ask for them; and the till and the purse that calls go through."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
import trio

from nexusd.agents import Agents
from nexusd.services.payments import objections
from nexusd.services.payments.overdue import Overdue
from nexusd.services.payments.policies import Policies, shown
from nexusd.services.payments.ports import Chains, Health
from nexusd.services.payments.purse import Advertised, Purse
from nexusd.services.payments.till import Till
from nexusd.services.payments.trust import Acquainted, Level, Payers, Trust
from nexusd.services.payments.views import (
    amount_text,
    asset_text,
    balance_view,
    charge_view,
    explanation,
    network_text,
    offence_view,
    purchase_view,
    response_of,
    tab_views,
    token_of,
    usage_view,
)
from nexusd.services.payments.wallet import Kdf, Wallet
from nexusd.services.ports import Emit, Entropy, Resolve, WallClock
from nexusd.store import Store
from nexusd.store.ledger.purchases import NotWaiting
from nexusd_protocols.payments import money, policy
from nexusd_protocols.payments.address import Address, checksummed, parse_address
from nexusd_protocols.payments.authorization import Account
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.policy import Refuse
from nexusd_protocols.payments.purchase import PurchaseRow
from nexusd_protocols.payments.tokens import Holdings, Token, Tokens, network_name
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.receipts import verified

log = structlog.get_logger(__name__)

UPKEEP_S: Final = 3600.0
"""How often what is over is forgotten."""
TRACE_S: Final = 60.0
"""How often the chain is asked what became of payments that nobody answered for, if there are any."""
FUNDS_S: Final = 2.0
"""For the look at what the wallet holds, before anything is signed. A chain that is slow holds up no call."""
APPROVALS: Final = 500
"""Payments that may be listed as waiting: more calls do not run at once."""
OFFENCES: Final = 200
"""Payments that are listed as taken back, the newest."""
PREFIX_CHARS: Final = 6
"""Of a payment's id, at least, where its beginning stands for it."""


class Payments:
    """Money of this node's agents."""

    def __init__(
        self,
        *,
        agents: Agents,
        store: Store,
        chains: Chains,
        tokens: Tokens,
        trust: Trust,
        acquainted: Acquainted,
        clock: WallClock,
        entropy: Entropy,
        emit: Emit,
        resolve: Resolve,
        directory: Path,
        advertised: Advertised,
        opened: Callable[[Account], None],
        kdf: Kdf = "scrypt",
    ) -> None:
        """`acquainted`: whether a person here knows a peer. `opened` is told of the wallet's key when it becomes known:
        it pays the gas of settlements."""
        self._agents = agents
        self._store = store
        self._chains = chains
        self._tokens = tokens
        self._clock = clock
        self._resolve = resolve
        self._policies = Policies(store)
        self._trust = trust
        self._payers = Payers(trust, store.standings, acquainted)
        self.wallet = Wallet(directory, opened, kdf=kdf)
        self.till = Till(
            ledger=store.ledger,
            chains=chains,
            tokens=tokens,
            trust=trust,
            payers=self._payers,
            clock=clock,
            wallet=lambda: self.wallet.address,
        )
        self.purse = Purse(
            purchases=store.purchases,
            policies=self._policies,
            tokens=tokens,
            clock=clock,
            entropy=entropy,
            emit=emit,
            account=lambda: self.wallet.account,
            published_prices=advertised,
            holds=self._holds,
            has_wallet=lambda: self.wallet.address is not None,
        )
        self._overdue = Overdue(store.purchases, chains, tokens, clock, self.purse.is_under_way)

    # --- life -------------------------------------------------------------------------------------------------------
    async def load(self, password: str | None) -> None:
        """Before any call: put what a crash left half done in order, and find the wallet."""
        now = self._clock()
        recovered = await self._store.ledger.recover(now)
        closed = await self._store.purchases.recover(now)
        if recovered.released or recovered.interrupted or closed:
            log.info(
                "payments_recovered", released=recovered.released, interrupted=recovered.interrupted, closed=closed
            )
        await self.wallet.load(password)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Forget what is over, and find out what became of what nobody answered for."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._forget)
            nursery.start_soon(self._trace)
            task_status.started()

    async def _forget(self) -> None:
        while True:
            try:
                await self._tidy(self._clock())
            except OSError as error:
                log.error("charges_not_forgotten", error=str(error))
            await trio.sleep(UPKEEP_S)

    async def _tidy(self, now: int) -> None:
        """What is owed where there is no node ends some time after its authorisation; a node that is named later says
        what became of it."""
        ledger = self._store.ledger
        online = [token for token in self._tokens if self._chains.online(token.chain_id)]
        asked = [token.asset_id for token in online]
        taken_up = sum([await ledger.take_up(agent.id, asked, now) for agent in self._agents])
        given_up = await ledger.give_up(asked, now)
        if taken_up or given_up:
            log.info("charges_without_a_node", given_up=given_up, taken_up=taken_up)
        await ledger.forget(now)

    async def _trace(self) -> None:
        while True:
            try:
                await self._overdue.round()
            except OSError as error:
                log.error("payments_not_traced", error=str(error))
            await trio.sleep(TRACE_S)

    # --- the wallet -------------------------------------------------------------------------------------------------
    async def balance(self) -> schema.WalletBalances | Refusal:
        """What the wallet holds, on each network that is known."""
        holder = self.wallet.address
        if holder is None:
            return Refusal("no_wallet")
        found: dict[int, Holdings | PaymentFault] = {}

        async def look(chain_id: int, tokens: list[Token]) -> None:
            found[chain_id] = await self._chains.holdings(chain_id, holder, tokens)

        async with trio.open_nursery() as nursery:  # a node that hangs is waited for once
            for chain_id in dict.fromkeys(token.chain_id for token in self._tokens):
                if self._chains.online(chain_id):
                    nursery.start_soon(look, chain_id, [each for each in self._tokens if each.chain_id == chain_id])
        rows = [balance_view(token, found.get(token.chain_id)) for token in self._tokens]
        return schema.WalletBalances(address=checksummed(holder), balances=rows)

    async def _holds(self, token: Token, holder: Address) -> int | None:
        """What an account has of a token, as far as a chain is there to ask and answers in time."""
        if self._chains.online(token.chain_id):
            with trio.move_on_after(FUNDS_S):
                found = await self._chains.holdings(token.chain_id, holder, [token])
                return found.amounts.get(token) if isinstance(found, Holdings) else None
        return None

    # --- the payer --------------------------------------------------------------------------------------------------
    async def policy(self, params: schema.ProfileGetParams) -> schema.PayPolicy | Refusal:
        """What an agent may pay, and what it has spent of it."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        spent = await self._store.purchases.spent_view(agent.id, self._clock())
        stopped = await self._store.purchases.stopped()
        return shown(await self._policies.kept(agent.id), stopped=stopped, hour=spent.hour, day=spent.day)

    async def set_policy(self, params: schema.PayPolicySetParams) -> schema.PayPolicy | Refusal:
        """Change it."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        known = sorted({token.symbol for token in self._tokens})
        unknown = [name for name in params.assets or () if name.upper() not in known]
        if unknown:
            there_are = f"there are {', '.join(known)}, and `tokens` of config.toml adds others"
            return Refusal("invalid_params", f"There is no token {unknown[0]!r} that is known: {there_are}")
        peers: list[str] | None = None
        if params.peers is not None:
            peers = []
            for text in params.peers:
                peer = self._resolve(text)
                if isinstance(peer, Refusal):
                    return peer
                peers.append(peer)
        refusal = await self._policies.change(agent.id, params, peers)
        return refusal or await self.policy(schema.ProfileGetParams(agent=params.agent))

    async def stop(self, params: schema.PayStopParams) -> schema.PayStopped:
        """The kill switch."""
        await self._store.purchases.stop(params.stopped)
        return schema.PayStopped(stopped=params.stopped)

    async def approvals(self, params: schema.ProfileGetParams) -> schema.PurchaseList | Refusal:
        """What waits for a person."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        rows = await self._store.purchases.approvals(agent.id, APPROVALS)
        return schema.PurchaseList(purchases=[purchase_view(row, self._tokens) for row in rows])

    async def approve(self, params: schema.PayIdParams) -> schema.PurchaseView | Refusal:
        """A person agrees; the call goes on."""
        return await self._decide(params, approve=True)

    async def reject(self, params: schema.PayIdParams) -> schema.PurchaseView | Refusal:
        """A person does not; the call ends."""
        return await self._decide(params, approve=False)

    async def _decide(self, params: schema.PayIdParams, *, approve: bool) -> schema.PurchaseView | Refusal:
        found = await self._find(params)
        if isinstance(found, Refusal):
            return found
        id_ = found.intent.id
        row = await self._store.purchases.decide(id_, approve, self._clock())
        if isinstance(row, NotWaiting):
            return Refusal("refused", f"The payment waits for nobody: it is {row.row.state}")
        if isinstance(row, Refuse):
            return objections.STOPPED if row.code == policy.STOPPED else Refusal("payment_refused", str(row))
        self.purse.decided(id_)
        return purchase_view(row, self._tokens)

    async def history(self, params: schema.PayListParams) -> schema.PurchaseList | Refusal:
        """Payments of an agent, oldest first."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        page = await self._store.purchases.list(
            agent.id, after=params.after, before=params.before, limit=params.limit, receipts=params.receipts
        )
        views = [purchase_view(row, self._tokens) for row in page.rows]
        return schema.PurchaseList(
            purchases=views,
            more=page.more,
            first=views[0].cursor if views else None,
            last=views[-1].cursor if views else None,
        )

    async def explain(self, params: schema.PayIdParams) -> schema.PayExplained | Refusal:
        """All that is known of one."""
        row = await self._find(params)
        if isinstance(row, Refusal):
            return row
        signed = row.signed
        token = token_of(row.intent.asset, self._tokens)
        online = token is not None and self._chains.online(token.chain_id)
        return schema.PayExplained(
            purchase=purchase_view(row, self._tokens),
            explanation=explanation(row, online=online, now=self._clock()),
            authorization=None if signed is None else signed.authorization.wire(),
            key="" if signed is None else signed.key,
            counts_until=row.until if row.until < 1 << 53 else None,
            tabs=tab_views(row, await self._store.purchases.tabs(row), self._tokens),
            response=response_of(row),
            receipt=row.receipt.decode(),
        )

    async def verify(self, params: schema.PayVerifyParams) -> schema.PayVerified:
        """Whether a receipt is one."""
        return verified(params.receipt, self._tokens)

    async def _find(self, params: schema.PayIdParams) -> PurchaseRow | Refusal:
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        row = await self._store.purchases.get(params.id)
        count = 1
        if row is None and len(params.id) >= PREFIX_CHARS:
            count, row = await self._store.purchases.fitting(agent.id, params.id)
        if row is None or row.intent.agent != agent.id:
            why = (
                "none begins so"
                if len(params.id) >= PREFIX_CHARS
                else f"{PREFIX_CHARS} characters of one's id are needed"
            )
            return Refusal("payment_unknown", f"There is no payment {params.id!r}, and {why}")
        return row if count == 1 else Refusal("ambiguous_payment", f"{count} payments begin with {params.id!r}")

    # --- the provider -----------------------------------------------------------------------------------------------
    async def settlements(self, params: schema.PaySettleParams) -> schema.PaySettleStatus | Refusal:
        """The queue: what is due, submitted, settled, lost; and whether each network settles."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        page = await self._store.ledger.list(agent.id, after=params.after, before=params.before, limit=params.limit)
        totals = await self._store.ledger.totals(agent.id)
        tokens = self._tokens
        healths = self._chains.health()
        waits = ChainMap(*(dict(health.waits) for health in healths))
        offline = dict.fromkeys(token.chain_id for token in tokens if not self._chains.online(token.chain_id))
        networks = {state.network: state for state in [*map(_state, healths), *map(_offline, offline)]}
        return schema.PaySettleStatus(
            networks=list(networks.values()),
            totals=[
                schema.ChargeTotal(
                    network=network_text(total.asset),
                    asset=asset_text(total.asset, tokens),
                    state=total.state.value,
                    charges=total.charges,
                    amount=amount_text(total.amount, total.asset, tokens),
                )
                for total in totals
            ],
            charges=[charge_view(row, tokens, networks, waits) for row in page.rows],
            more=page.more,
            first=page.rows[0].position if page.rows else None,
            last=page.rows[-1].position if page.rows else None,
        )

    async def trust(self, params: schema.PayTrustParams) -> schema.PayTrust | Refusal:
        """How far payers are trusted, and who took a payment back."""
        trust = self._trust
        peer = None if params.peer is None else self._resolve(params.peer)
        if isinstance(peer, Refusal):
            return peer
        rows = await self._store.standings.offences(OFFENCES)
        return schema.PayTrust(
            levels=[_level(trust, level) for level in Level],
            total=money.show(trust.total, money.LIMIT_DECIMALS),
            offline=money.show(trust.offline, money.LIMIT_DECIMALS),
            known_after=trust.known_after,
            trusted=sorted(trust.trusted_peers),
            offences=[offence_view(row, self._tokens) for row in rows],
            peer=peer,
            level=None if peer is None else (await self._payers.level(peer)).value,
        )

    async def clear(self, params: schema.PayClearParams) -> schema.PayCleared | Refusal:
        """A person lets a payer off."""
        if params.who.startswith("0x"):
            try:
                payer = parse_address(params.who)
            except ValueError as error:
                return Refusal("invalid_params", str(error))
            return schema.PayCleared(cleared=await self._store.standings.clear(payer=payer))
        peer = self._resolve(params.who)
        if isinstance(peer, Refusal):
            return peer
        self.till.credits.forgive(peer)
        return schema.PayCleared(cleared=await self._store.standings.clear(peer=peer))

    # --- both -------------------------------------------------------------------------------------------------------
    async def usage(self, params: schema.PayUsageParams) -> schema.PayUsage | Refusal:
        """What was used, both ways."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        meters = await self._store.metering.sums(agent.id, since=params.since)
        return schema.PayUsage(rows=[usage_view(meter, self._tokens) for meter in meters])


def _level(trust: Trust, level: Level) -> schema.LevelView:
    allowed = trust.allowance(level, online=True)
    return schema.LevelView(
        level=level.value,
        tab=money.show(allowed.tab, money.LIMIT_DECIMALS),
        exposure=money.show(allowed.exposure, money.LIMIT_DECIMALS),
        held=level is Level.OFFENDER or (level is Level.STRANGER and trust.hold_strangers),
    )


def _state(health: Health) -> schema.NetworkState:
    return schema.NetworkState(
        network=network_name(health.chain_id), online=health.online, settles=health.settles, problem=health.problem
    )


def _offline(chain_id: int) -> schema.NetworkState:
    problem = "unfunded: no chain is asked until a node of it is in rpc_urls of config.toml"
    return schema.NetworkState(network=network_name(chain_id), online=False, settles=False, problem=problem)

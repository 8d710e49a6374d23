"""What each agent may pay, kept over restarts; until somebody says otherwise, nothing."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import trio

from nexusd.store import Store
from nexusd_protocols import limits
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import parse_capability_name
from nexusd_protocols.payments import money
from nexusd_protocols.payments.policy import Policy
from nexusd_protocols.payments.tokens import network_name, parse_network
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal

KEY: Final = "pay.policy"
NONE: Final = "none"


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """A policy as it is stored. Amounts are millionths; networks are CAIP-2."""

    per_request: int | None = 0
    per_hour: int | None = None
    per_day: int | None = None
    per_payee: int | None = None
    per_minute_count: int | None = 60
    approve_above: int | None = None
    approve_first: bool = False
    networks: tuple[str, ...] = ()
    assets: tuple[str, ...] = ("USDC",)
    peers: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] | None = None
    max_window_s: int = 600


AMOUNTS: Final = ("per_request", "per_hour", "per_day", "per_payee", "approve_above")

_kept: Final = msgspec.json.Decoder(Kept)


class Policies:
    """The agents' policies."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changing = trio.Lock()

    async def kept(self, agent: AgentId) -> Kept:
        """As it is stored."""
        text = await self._store.settings.get(KEY, agent=agent)
        return Kept() if text is None else _kept.decode(text)

    async def of(self, agent: AgentId) -> Policy:
        """As decisions take it. The kill switch is the ledger's."""
        kept = await self.kept(agent)
        return Policy(
            per_request=kept.per_request,
            per_hour=kept.per_hour,
            per_day=kept.per_day,
            per_payee=kept.per_payee,
            per_minute_count=kept.per_minute_count,
            approve_above=kept.approve_above,
            approve_first=kept.approve_first,
            networks=frozenset(kept.networks),
            assets=frozenset(kept.assets),
            peers=None if kept.peers is None else frozenset(kept.peers),
            capabilities=None if kept.capabilities is None else frozenset(kept.capabilities),
            max_window_s=kept.max_window_s,
        )

    async def change(
        self, agent: AgentId, params: schema.PayPolicySetParams, peers: list[str] | None
    ) -> Refusal | None:
        """Store what is given; the rest stays. `peers` are those of the parameters, resolved."""
        changes: dict[str, Any] = {}
        try:
            for name in AMOUNTS:
                text = getattr(params, name)
                if text is not None:
                    changes[name] = None if text == NONE else money.parse_decimal(text, money.LIMIT_DECIMALS)
            if params.networks is not None:
                changes["networks"] = tuple(dict.fromkeys(f"eip155:{parse_network(name)}" for name in params.networks))
            if params.assets is not None:
                changes["assets"] = tuple(dict.fromkeys(name.upper() for name in params.assets))
            if params.capabilities is not None:
                names = tuple(dict.fromkeys(parse_capability_name(name) for name in params.capabilities))
                changes["capabilities"] = names or None
            if params.max_window_s is not None and params.max_window_s < limits.PAYMENT_SETTLING_S:
                raise ValueError(f"Settling takes {limits.PAYMENT_SETTLING_S} s: a shorter window allows nothing")
        except ValueError as error:
            return Refusal("invalid_params", str(error))
        if params.per_minute is not None:
            changes["per_minute_count"] = None if params.per_minute == NONE else int(params.per_minute)
        if peers is not None:
            changes["peers"] = tuple(peers) or None
        if params.approve_first is not None:
            changes["approve_first"] = params.approve_first
        if params.max_window_s is not None:
            changes["max_window_s"] = params.max_window_s
        async with self._changing:  # or one of two at once would undo the other
            kept = msgspec.structs.replace(await self.kept(agent), **changes)
            await self._store.settings.set(KEY, msgspec.json.encode(kept).decode(), agent=agent)
        return None


def shown(kept: Kept, *, stopped: bool, hour: int, day: int) -> schema.PayPolicy:
    """A policy for people. Spent sums are in millionths."""

    def text(amount: int | None) -> str | None:
        return None if amount is None else money.show(amount, money.LIMIT_DECIMALS)

    return schema.PayPolicy(
        stopped=stopped,
        per_request=text(kept.per_request),
        per_hour=text(kept.per_hour),
        per_day=text(kept.per_day),
        per_payee=text(kept.per_payee),
        per_minute=kept.per_minute_count,
        approve_above=text(kept.approve_above),
        approve_first=kept.approve_first,
        networks=[network_name(parse_network(network)) for network in kept.networks],
        assets=list(kept.assets),
        peers=None if kept.peers is None else list(kept.peers),
        capabilities=None if kept.capabilities is None else list(kept.capabilities),
        max_window_s=kept.max_window_s,
        spent_hour=money.show(hour, money.LIMIT_DECIMALS),
        spent_day=money.show(day, money.LIMIT_DECIMALS),
    )

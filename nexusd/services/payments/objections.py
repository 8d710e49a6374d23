"""What speaks against a payment, in words that say what would change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from nexusd.services.prices import own_price
from nexusd_protocols.payments import policy
from nexusd_protocols.payments.terms import PriceTerms
from nexusd_protocols.payments.tokens import network_name, parse_network
from nexusd_protocols.rpc.codes import Refusal

_NAMES_SHOWN: Final = 4
_CHANGES: Final = {
    policy.STOPPED: "nexus pay stop --off",
    policy.WINDOW: "nexus pay policy set --max-window",
    policy.PER_CALL: "--max-price",
    policy.PER_REQUEST: "nexus pay policy set --per-request",
    policy.PER_HOUR: "nexus pay policy set --per-hour",
    policy.PER_DAY: "nexus pay policy set --per-day",
    policy.PER_PAYEE: "nexus pay policy set --per-payee",
    policy.TOO_OFTEN: "nexus pay policy set --per-minute",
}
"""What changes a policy's mind, for people."""
STOPPED: Final = Refusal(
    "payment_refused",
    f"{policy.CODES[policy.STOPPED].capitalize()} (`{_CHANGES[policy.STOPPED]}`)",
    {"reason": policy.STOPPED},
)
"""Nothing is signed, whatever it is for."""


def against(terms: PriceTerms, reason: str, why: str) -> Refusal:
    """An offer is not paid: `reason` is a word for programs, `why` says it to people."""
    asked = str(own_price(terms))
    data = {"reason": reason, "asked": asked, "why": why}
    return Refusal("payment_refused", f"The provider asks for {asked}: {why}", data)


def together(refused: Sequence[Refusal]) -> Refusal:
    """One answer for all offers: those that have the same against them are named together."""
    whys: dict[str, list[str]] = {}
    for each in refused:
        if not isinstance(each.data, dict):
            return each
        whys.setdefault(each.data["why"], []).append(each.data["asked"])
    parts = [f"{', or '.join(asked)}: {why}" for why, asked in whys.items()]
    return replace(refused[0], detail=f"The provider asks for {'; or for '.join(parts)}")


def of_policy(code: str, rules: policy.Policy, wanted: policy.Purchase) -> str:
    """What a policy has against it, and how that is changed; a list is given whole, for it replaces the one before."""
    token = wanted.terms.token
    networks = [network_name(parse_network(each)) for each in sorted(rules.networks)]
    lists = {
        policy.NETWORK: ("--allow-network", [*networks, network_name(token.chain_id)]),
        policy.ASSET: ("--allow-asset", [*sorted(rules.assets), token.symbol]),
        policy.PEER: ("--allow-peer", [*sorted(rules.peers or ()), wanted.provider]),
        policy.CAPABILITY: ("--allow-capability", [*sorted(rules.capabilities or ()), wanted.capability]),
    }
    if not rules.networks and rules.per_request == 0:
        network = network_name(token.chain_id)
        how = f"nexus pay policy set --allow-network {network} --per-request {token.show(wanted.amount).split()[0]}"
        return f"nothing may be paid yet (`{how}`)"
    how = _CHANGES.get(code, "")
    if code in lists:
        flag, names = lists[code]
        how = "nexus pay policy set " + " ".join(f"{flag} {name}" for name in names)
        if len(names) > _NAMES_SHOWN:
            return f"{policy.CODES[code]} (`nexus pay policy show` has it; `nexus pay policy set {flag} …`)"
    return policy.CODES[code] + (f" (`{how}`)" if how else "")

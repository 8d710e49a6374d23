"""Payments of this node, composed: the networks that the configuration names, and the service that uses them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from nexusd.agents import Agents
from nexusd.config import Config
from nexusd.networks import Networks
from nexusd.nodes import millionths, rpc_url, token
from nexusd.services.payments import Allowance, Payments, Trust
from nexusd.services.payments.purse import Advertised
from nexusd.services.payments.trust import Acquainted
from nexusd.services.ports import Emit, Entropy, Resolve, WallClock
from nexusd.store import Store
from nexusd_protocols.payments.tokens import Tokens

log = structlog.get_logger(__name__)

PASSWORD_VARIABLE: Final = "NEXUS_WALLET_PASSWORD"  # noqa: S105 - its name
_PASSWORD_BYTES: Final = 1024


def payments(
    *,
    agents: Agents,
    config: Config,
    store: Store,
    clock: WallClock,
    entropy: Entropy,
    emit: Emit,
    resolve: Resolve,
    advertised: Advertised,
    acquainted: Acquainted,
) -> tuple[Payments, Networks]:
    """The service, and the networks that it asks."""
    tokens = Tokens(map(token, config.tokens))
    networks = Networks(map(rpc_url, config.rpc_urls), tokens, store, clock)
    trust = Trust(
        stranger=Allowance(tab=millionths(config.tab_stranger), exposure=millionths(config.exposure_stranger)),
        known=Allowance(tab=millionths(config.tab_known), exposure=millionths(config.exposure_payer)),
        trusted=Allowance(tab=millionths(config.tab_trusted), exposure=millionths(config.exposure_trusted)),
        total=millionths(config.exposure_total),
        offline=millionths(config.exposure_offline),
        hold_above=millionths(config.hold_above),
        hold_strangers=config.hold_strangers,
        accept_unbound=config.accept_unbound,
        known_after=config.known_after,
        trusted_peers=frozenset(config.trust_peers),
    )
    if config.accept_unbound:
        log.info("accept_unbound", hint="no other daemon may be paid at the address of this one's wallet")
    service = Payments(
        agents=agents,
        store=store,
        chains=networks,
        tokens=tokens,
        trust=trust,
        acquainted=acquainted,
        clock=clock,
        entropy=entropy,
        emit=emit,
        resolve=resolve,
        directory=config.data_dir,
        advertised=advertised,
        opened=networks.use,
    )
    return service, networks


class Password(NamedTuple):
    """`problem`: why there is none where there should be one."""

    text: str | None
    problem: str = ""


def password_of(config: Config) -> Password:
    """The wallet's password, from the file that the configuration names or from the environment; taken out of the
    environment, so that no command that serves a capability gets it."""
    password = os.environ.pop(PASSWORD_VARIABLE, None)
    path: Path | None = config.wallet_password_file
    if path is None:
        return Password(password or None)
    try:
        with path.open("rb") as file:
            text = file.read(_PASSWORD_BYTES).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        log.error("wallet_password_not_read", path=str(path), error=str(error))
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        return Password(None, f"since the wallet_password_file {path} cannot be read ({why})")
    return Password(text or None, "" if text else f"since the wallet_password_file {path} is empty")

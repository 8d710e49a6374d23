"""What a person sees of what is owed here."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from nexusd.cli.terminal import clock
from nexusd_protocols.identity import Signer
from nexusd_protocols.rpc import schema

BOB = str(Signer(bytes([2]) * 32).peer_id)
AT = 1_795_958_550_252
LATER = time.time_ns() // 1_000_000 + 86_400_000
CHARGE = schema.ChargeView(
    key="k",
    at=AT,
    state="due",
    peer=BOB,
    capability="upper",
    amount="0.1",
    asset="USDC",
    network="base",
    payer="0xab",
    pay_to="0xcd",
    valid_before=LATER,
    reason="the account has too little",
)
STATUS = schema.PaySettleStatus(
    networks=[
        schema.NetworkState(network="base", online=True, settles=False, problem="the account has too little"),
        schema.NetworkState(network="polygon", online=False, settles=False, problem="unfunded"),
    ],
    totals=[schema.ChargeTotal(network="base", asset="USDC", state="due", charges=1, amount="0.1")],
    charges=[CHARGE],
)


def test_what_is_owed(nexus, daemon):
    daemon.script["pay.settlements"] = STATUS
    shown = nexus("pay", "settle", "--status", tty=True).out
    assert "base     does not settle  the account has too little\n" in shown
    assert "polygon" not in shown
    assert (
        f"due (lost after {clock(LATER)}): the account has too little  0.1 USDC  base     upper       0xab   none\n"
        in shown
    )


def test_that_there_are_more_charges_is_said_with_how_to_get_them(nexus, daemon):
    daemon.script["pay.settlements"] = replace(STATUS, more=True, first=7, last=7)
    assert nexus("pay", "settle", "--status", "--limit", "1", tty=True).err == "more: --before 7\n"
    assert nexus("pay", "settle", "--before", "7", tty=True).code == 0
    assert daemon.params("pay.settlements") == schema.PaySettleParams(before=7)
    assert nexus("pay", "settle", "--after", "0", tty=True).err == "more: --after 7\n"


@pytest.mark.parametrize(
    ("charge", "standing"),
    [
        ({"state": "submitted", "reason": ""}, f"submitted (lost after {clock(LATER)})"),
        ({"valid_before": AT}, f"due (its time was over at {clock(AT)}): the account has too little"),
        ({"state": "settled", "reason": ""}, "settled"),
        ({"state": "released", "reason": "nexus_exposure"}, "released: too much is owed already that is not settled"),
        ({"state": "lost", "valid_before": AT, "reason": "too late"}, "lost: too late"),
        ({"state": "reserved", "reason": "its call is under way"}, "reserved: its call is under way"),
    ],
)
def test_how_a_charge_stands(nexus, daemon, charge, standing):
    daemon.script["pay.settlements"] = replace(STATUS, charges=[replace(CHARGE, **charge)])
    assert f"  {standing}  0.1 USDC  " in nexus("pay", "settle", "--status", tty=True).out


def test_where_no_node_is_configured_the_setting_is_named(nexus, daemon):
    daemon.script["pay.settlements"] = schema.PaySettleStatus(networks=[], totals=[], charges=[])
    nodes, owed, charges = nexus("pay", "settle", tty=True).out.split("\n\n")
    assert "rpc_urls = [" in nodes
    assert "config.toml" in nodes
    assert (owed, charges) == ("nothing is owed", "no charges\n")

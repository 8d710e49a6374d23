"""What the doors show of a charge: what it waits for now, or why it ended; and of a payment, what it cost."""

from __future__ import annotations

import pytest

from nexusd.services.payments.views import charge_view, purchase_view
from nexusd_protocols.ndjson import encode
from nexusd_protocols.payments.charge import Charge, State
from nexusd_protocols.payments.purchase import PurchaseRow, PurchaseState
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.rpc.schema import NetworkState
from tests.unit.protocols.payments.charges import entry
from tests.unit.store.payments import intent, signed

SETTLES = NetworkState(network="base", online=True, settles=True)
LOCKED = NetworkState(network="base", online=True, settles=False, problem="the wallet is locked")
OFFLINE = NetworkState(network="base", online=False, settles=False)
SENT = "sent, and not in a block yet"


@pytest.mark.parametrize(
    ("charge", "network", "settling", "reason"),
    [
        (Charge(entry=entry()), SETTLES, "", "its call is under way"),
        (Charge(entry=entry(tab=True), state=State.DUE), OFFLINE, "", "its call is under way"),
        (Charge(entry=entry(), state=State.DUE, working=False), SETTLES, "", "is sent next"),
        (Charge(entry=entry(), state=State.DUE, working=False), LOCKED, "", "base does not settle now"),
        (Charge(entry=entry(), state=State.DUE, working=False), OFFLINE, "", "waits for a node of base (rpc_urls)"),
        (Charge(entry=entry(), state=State.SUBMITTED, working=False), SETTLES, SENT, SENT),
        (Charge(entry=entry(), state=State.SUBMITTED, working=False), SETTLES, "", ""),
        (Charge(entry=entry(), state=State.DUE, working=False, reason="undone"), SETTLES, "", "undone"),
        (Charge(entry=entry(), state=State.DUE, working=False, reason="undone"), SETTLES, SENT, SENT),
        (Charge(entry=entry(), state=State.SETTLED, working=False), OFFLINE, SENT, ""),
        (Charge(entry=entry(), state=State.LOST, working=False, reason="too late"), LOCKED, SENT, "too late"),
    ],
)
def test_a_charge_says_what_it_waits_for(charge: Charge, network: NetworkState, settling: str, reason: str) -> None:
    view = charge_view(charge, Tokens(), {"base": network}, {charge.entry.key: settling})
    assert (view.reason, view.unfunded) == (reason, network is OFFLINE and charge.state is not State.SETTLED)


def test_a_charge_on_a_network_that_is_known_no_more() -> None:
    view = charge_view(Charge(entry=entry(), state=State.DUE, working=False), Tokens(), {}, {})
    assert (view.reason, view.unfunded) == ("is sent next", False)


@pytest.mark.parametrize(
    ("state", "amount", "charged"),
    [
        (PurchaseState.SIGNED, None, ""),
        (PurchaseState.CLOSED, "60", ""),
        (PurchaseState.SPENT, None, "0.0001"),
        (PurchaseState.SPENT, "60", "0.00006"),
        (PurchaseState.SPENT, "101", "0.0001"),
        (PurchaseState.SPENT, "-1", "0.0001"),
    ],
)
def test_what_was_charged_is_what_is_told_and_no_more_than_is_signed(
    state: PurchaseState, amount: str | None, charged: str
) -> None:
    one = intent(tab=True)
    told = {"success": True, "network": "eip155:8453", "transaction": "", "amount": amount}
    row = PurchaseRow(
        intent=one, state=state, cost=100, signed=signed(one), asked_at=1, changed_at=1, response=encode(told)
    )
    assert purchase_view(row, Tokens()).charged == charged


@pytest.mark.parametrize(("tab", "charged"), [(True, ""), (False, "0.0001")])
def test_of_a_tab_that_was_given_up_nobody_said_what_it_came_to(tab: bool, charged: str) -> None:
    one = intent(tab=tab)
    row = PurchaseRow(intent=one, state=PurchaseState.SPENT, cost=100, signed=signed(one), asked_at=1, changed_at=1)
    assert purchase_view(row, Tokens()).charged == charged

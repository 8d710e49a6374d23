"""What the commands of payments show: in words, in whole tokens, and with what to type next."""

from __future__ import annotations

import csv
import io

import pytest
from msgspec.structs import replace

from nexusd.cli.terminal import clock
from nexusd_protocols.rpc import schema
from tests.harness.vectors import vectors
from tests.unit.cli.answers import BOB

AT = 1_795_958_550_252
JWS = "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmVk"
BOUGHT = schema.PurchaseView(
    id="019aca5e",
    cursor=4,
    at=AT,
    state="spent",
    peer=BOB,
    capability="upper",
    amount="0.1",
    signed="0.1",
    counts="0.1",
    asset="USDC",
    network="base",
    pay_to="0xab",
    transaction="0xcd",
    receipt=True,
)
CHARGE = schema.ChargeView(
    key="k",
    cursor=7,
    at=AT,
    state="settled",
    peer=BOB,
    capability="upper",
    amount="0.1",
    asset="USDC",
    network="base",
    payer="0xaa",
    pay_to="0xab",
    valid_before=AT,
)
POLICY = schema.PayPolicy(
    stopped=False,
    per_request="1",
    per_hour=None,
    per_day="10",
    per_payee=None,
    per_minute=60,
    approve_above="0.25",
    approve_first=True,
    networks=["base"],
    assets=["USDC"],
    peers=None,
    capabilities=["upper"],
    max_window_s=600,
    spent_hour="0.3",
    spent_day="0.4",
)


def test_a_policy(nexus, daemon):
    daemon.script["pay.policy"] = POLICY
    assert (
        nexus("pay", "policy", "show", tty=True).out
        == """\
a request         1
an hour           no limit (spent, or signed and still usable: 0.3)
a day             10 (spent, or signed and still usable: 0.4)
a payee and day   no limit
a minute          60 payments
a person decides  above 0.25
                  before a payee is paid for the first time
networks          base
tokens            USDC
providers         everybody
capabilities      upper
longest window    600 s
"""
    )
    nothing = replace(POLICY, stopped=True, per_request="0", networks=[], approve_above=None, approve_first=False)
    daemon.script["pay.policy"] = nothing
    shown = nexus("pay", "policy", "show", tty=True).out.splitlines()
    assert shown[0] == "STOPPED           nothing is paid: `nexus pay stop --off` ends that"
    assert "a request         0: nothing but what is free" in shown
    assert "networks          none: nothing is paid anywhere" in shown


def test_a_policy_is_changed_by_what_is_given(nexus, daemon):
    daemon.script["pay.setPolicy"] = POLICY
    amounts = (
        "--per-request",
        "1",
        "--per-hour",
        "2",
        "--per-day",
        "10",
        "--per-payee",
        "none",
        "--per-minute",
        "600",
        "--approve-above",
        "0.25",
    )
    lists = ("--allow-network", "base", "--allow-network", "polygon", "--allow-asset", "EURC", "--allow-peer", "none")
    others = ("--allow-capability", "upper", "--no-approve-first", "--max-window", "60")
    assert nexus("pay", "policy", "set", *amounts, *lists, *others).code == 0
    assert daemon.params("pay.setPolicy") == schema.PayPolicySetParams(
        per_request="1",
        per_hour="2",
        per_day="10",
        per_payee="none",
        per_minute="600",
        approve_above="0.25",
        approve_first=False,
        networks=["base", "polygon"],
        assets=["EURC"],
        peers=[],
        capabilities=["upper"],
        max_window_s=60,
    )
    assert nexus("pay", "policy", "set", "--approve-first").code == 0
    assert daemon.params("pay.setPolicy") == schema.PayPolicySetParams(approve_first=True)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--per-minute", "1.5"), "--per-minute 1.5 is no number of payments"),
        (("--per-minute", "many"), "--per-minute many is no number of payments"),
        (("--max-window", "5"), 'Invalid value "5" for --max-window. It is from 60 to 86400'),
        (("--per-day",), "--per-day needs a value"),
    ],
)
def test_what_no_policy_can_say_is_refused_in_words(nexus, daemon, option, message):
    error = nexus("pay", "policy", "set", *option).error
    assert (error["code"], error["message"], daemon.asked) == ("usage", message, [])


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ({"success": True, "transaction": "0xcd", "amount": "100000"}, "it takes this as paid"),
        ({"success": False, "errorReason": "insufficient_funds"}, "the payer has less than it has authorised"),
        ({"success": False, "errorReason": "x"}, "x"),
        ({"success": False, "errorReason": "x", "errorMessage": "\x1b[31mred"}, "red"),
        ({"success": "yes", "errorReason": 7}, "nothing that makes sense"),
    ],
)
def test_all_that_is_known_of_a_payment(nexus, daemon, response, said):
    daemon.script["pay.explain"] = schema.PayExplained(purchase=BOUGHT, key="k", response=response, receipt=JWS)
    shown = nexus("pay", "explain", "019aca5e", tty=True).out.splitlines()
    assert f"provider said    {said}" in shown
    assert "price            0.1 USDC on base" in shown
    assert shown[-1] == "receipt          `nexus pay explain 019aca5e --receipt` prints it"
    assert nexus("pay", "explain", "019aca5e", "--receipt", tty=True).out == f"{JWS}\n"
    assert nexus("pay", "explain", "019aca5e").data["response"] == response
    daemon.script["pay.explain"] = schema.PayExplained(purchase=replace(BOUGHT, receipt=False))
    assert nexus("pay", "explain", "019aca5e", tty=True).out.splitlines()[-1] == "receipt          none"
    assert nexus("pay", "explain", "019aca5e", "--receipt").error["message"] == "there is no receipt for that payment"


def test_why_a_payment_came_to_nothing_is_told_in_words(nexus, daemon):
    closed = replace(BOUGHT, state="closed", outcome="nexus_exposure")
    daemon.script["pay.history"] = schema.PurchaseList(purchases=[closed])
    daemon.script["pay.explain"] = schema.PayExplained(purchase=closed)
    assert "  closed: too much is owed already that is not settled  " in nexus("pay", "history", tty=True).out
    assert "nexus_exposure" not in nexus("pay", "explain", "019aca5e", tty=True).out
    assert nexus("pay", "history").data["purchases"][0]["outcome"] == "nexus_exposure"
    failed = replace(closed, outcome="unexpected_settle_error")
    daemon.script["pay.history"] = schema.PurchaseList(purchases=[failed])
    assert "  closed: nothing was charged  " in nexus("pay", "history", tty=True).out
    stopped = replace(closed, outcome="restarted")
    daemon.script["pay.history"] = schema.PurchaseList(purchases=[stopped])
    assert "  closed: the daemon stopped before it was signed  " in nexus("pay", "history", tty=True).out


def test_until_when_a_payment_counts_as_spent(nexus, daemon):
    for counts, said in (("0.1", f"0.1 until {clock(AT)}"), ("0", "0")):
        one = replace(BOUGHT, counts=counts)
        daemon.script["pay.explain"] = schema.PayExplained(purchase=one, counts_until=AT)
        assert f"counts as spent  {said}" in nexus("pay", "explain", "019aca5e", tty=True).out.splitlines()


def test_what_a_receipt_says(nexus, daemon, tmp_path):
    file = tmp_path / "receipt.jws"
    file.write_text(f"{JWS}\n")
    told = {
        "amount": "100000",
        "asset": "0x83",
        "network": "eip155:8453",
        "issuedAt": 1_795_960_202,
        "usage": {"units": 1},
        "transaction": None,
    }
    daemon.script["pay.verify"] = schema.PayVerified(
        valid=True, amount="0.1", asset="USDC", network="base", receipt={"capability": "upper\x1b[2J", **told}
    )
    ran = nexus("pay", "verify", str(file), tty=True)
    assert (ran.code, ran.out.splitlines()) == (
        0,
        [
            "valid: signed by the provider",
            "paid        0.1 USDC on base",
            "capability  upper",
            f"issuedAt    {clock(1_795_960_202_000)}",
            'usage       {"units": 1}',
        ],
    )
    assert daemon.params("pay.verify").receipt == JWS
    daemon.script["pay.verify"] = schema.PayVerified(valid=False, problem="forged")
    ran = nexus("pay", "verify", str(file), tty=True)
    assert (ran.code, ran.out) == (1, "not valid: forged\n")
    assert nexus("pay", "verify", str(file), tty=True).err == ""


@pytest.mark.parametrize("content", [None, b"x" * 20_000, b"\xff\xfe"], ids=["none", "large", "binary"])
def test_what_can_be_no_receipt_is_refused_with_where_to_get_one(nexus, daemon, tmp_path, content):
    file = tmp_path / "receipt.jws"
    if content is not None:
        file.write_bytes(content)
    assert nexus("pay", "verify", str(file)).error["try"] == "give what `nexus pay explain ID --receipt` printed"


def test_a_text_that_is_no_receipt_is_told_what_one_is(nexus, daemon, tmp_path):
    file = tmp_path / "receipt.jws"
    file.write_text("hello")
    daemon.script["pay.verify"] = schema.PayVerified(valid=False, problem="not a compact JWS")
    ran = nexus("pay", "verify", str(file), tty=True)
    assert (ran.out, ran.err) == (
        "not valid: not a compact JWS\n",
        "a receipt is what `nexus pay explain ID --receipt` printed\n",
    )


def test_a_receipt_is_verified_where_no_daemon_runs(nexus, tmp_path):
    case = vectors("payments")["receipts"]["nexus"][0]
    file = tmp_path / "receipt.jws"
    file.write_text(case["jws"])
    ran = nexus("pay", "verify", str(file), tty=True)
    assert (ran.code, ran.out.splitlines()[0]) == (0, "valid: signed by the provider")
    assert "USDC" in ran.out
    head, _, signature = case["jws"].rpartition(".")
    file.write_text(f"{head}.{'A' * len(signature)}")
    assert nexus("pay", "verify", str(file)).code == 1


def test_payments_for_a_spreadsheet(nexus, daemon):
    evil = replace(BOUGHT, cursor=5, note='=cmd|"/c calc"', outcome="-1", state="closed")
    pages = iter([schema.PurchaseList(purchases=[BOUGHT], more=True, last=4), schema.PurchaseList(purchases=[evil])])
    daemon.script["pay.history"] = lambda _: next(pages)
    rows = list(csv.DictReader(io.StringIO(nexus("pay", "export", "--csv").out)))
    assert [(row["id"], row["at"], row["amount"], row["network"]) for row in rows] == [
        ("019aca5e", "2026-11-29T13:22:30.252Z", "0.1", "base")
    ] * 2
    assert {row["receipt"] for row in rows} == {"true"}
    assert (rows[1]["note"], rows[1]["outcome"]) == ('\'=cmd|"/c calc"', "'-1")
    daemon.script["pay.history"] = schema.PurchaseList(purchases=[BOUGHT])
    assert [line["id"] for line in nexus("pay", "export").lines] == ["019aca5e"]
    refused = nexus("pay", "export", "--csv", "--json").error
    assert (refused["code"], refused["message"]) == ("usage", "--csv and --json are two forms of the same")


def test_of_a_call_with_tabs_what_it_cost_is_exported_beside_what_it_might_have_cost(nexus, daemon):
    tab = replace(BOUGHT, amount="0.5", signed="0.14", charged="0.13", tabs=2)
    daemon.script["pay.history"] = schema.PurchaseList(purchases=[tab, BOUGHT])
    for rows in (nexus("pay", "export").lines, csv.DictReader(io.StringIO(nexus("pay", "export", "--csv").out))):
        assert [(row["amount"], row["budget"]) for row in rows] == [("0.13", "0.5"), ("0.1", "")]


def test_what_others_pay_is_exported_too(nexus, daemon):
    pages = iter([(CHARGE, True), (replace(CHARGE, key="k2", cursor=9, payer="=1"), False)] * 2)
    asked = []

    def settlements(params):
        asked.append(params.after)
        charge, more = next(pages)
        return schema.PaySettleStatus(networks=[], totals=[], charges=[charge], more=more, last=charge.cursor)

    daemon.script["pay.settlements"] = settlements
    assert [line["key"] for line in nexus("pay", "export", "--income").lines] == ["k", "k2"]
    assert asked == [0, 7]
    rows = list(csv.DictReader(io.StringIO(nexus("pay", "export", "--income", "--csv").out)))
    assert [(row["at"], row["amount"], row["payer"]) for row in rows] == [
        ("2026-11-29T13:22:30.252Z", "0.1", "0xaa"),
        ("2026-11-29T13:22:30.252Z", "0.1", "'=1"),
    ]


@pytest.mark.parametrize(("command", "receipts"), [("history", False), ("receipts", True)])
def test_that_there_is_more_is_said_with_how_to_get_it(nexus, daemon, command, receipts):
    daemon.script["pay.history"] = schema.PurchaseList(purchases=[BOUGHT], more=True, first=4, last=4)
    assert nexus("pay", command, "--limit", "1", tty=True).err == "more: --before 4\n"
    assert daemon.params("pay.history") == schema.PayListParams(limit=1, receipts=receipts)
    assert nexus("pay", command, "--after", "0", tty=True).err == "more: --after 4\n"
    assert nexus("pay", command, "--before", "4", tty=True).code == 0
    assert daemon.params("pay.history") == schema.PayListParams(before=4, receipts=receipts)
    refused = nexus("pay", command, "--limit", "501").error
    assert (refused["code"], refused["message"].endswith("It is from 1 to 500")) == ("usage", True)


def test_what_waits_for_a_person_and_what_was_decided(nexus, daemon):
    daemon.script |= {"pay.approvals": schema.PurchaseList(purchases=[]), "pay.approve": BOUGHT, "pay.reject": BOUGHT}
    empty = nexus("pay", "approvals", tty=True)
    assert (empty.out, empty.err) == ("nothing waits for you\n", "")
    daemon.script["pay.approvals"] = schema.PurchaseList(purchases=[BOUGHT])
    assert "`nexus pay approve ID`" in nexus("pay", "approvals", tty=True).err
    assert nexus("pay", "approve", "019aca5e", tty=True).out == "approved: 0.1 USDC\n"
    assert nexus("pay", "reject", "019aca5e", tty=True).out == "rejected: 0.1 USDC\n"
    assert daemon.params("pay.reject").id == "019aca5e"


def test_a_call_that_was_paid_by_several_tabs(nexus, daemon):
    call = replace(BOUGHT, amount="0.5", signed="0.13", counts="0.13", tabs=3)
    tabs = [
        schema.TabView(key=f"k{n}", amount=amount, valid_before=AT) for n, amount in enumerate(["0.06", "0.06", "0.01"])
    ]
    daemon.script["pay.explain"] = schema.PayExplained(purchase=call, key="k0", tabs=tabs, receipt=JWS)
    # nobody said what came of it where it was given up
    for one, amount in ((call, "at most 0.13"), (replace(call, charged="0.12"), "0.12")):
        daemon.script["pay.history"] = schema.PurchaseList(purchases=[one])
        assert f"  {amount} USDC in 3 tabs  " in nexus("pay", "history", tty=True).out
    shown = nexus("pay", "explain", "019aca5e", tty=True).out.splitlines()
    assert "at most          0.5 USDC on base" in shown
    assert "signed           0.13 USDC in 3 tabs" in shown
    assert [line for line in shown if line.startswith("tab ")] == [
        "tab 1            0.06 USDC: k0",
        "tab 2            0.06 USDC: k1",
        "tab 3            0.01 USDC: k2",
    ]
    one = replace(call, tabs=1)
    daemon.script["pay.history"] = schema.PurchaseList(purchases=[one])
    assert "  at most 0.13 USDC  " in nexus("pay", "history", tty=True).out


TRUST = schema.PayTrust(
    levels=[
        schema.LevelView(level="offender", tab="0", exposure="0", held=True),
        schema.LevelView(level="known", tab="1", exposure="5", held=False),
    ],
    total="50",
    offline="0.1",
    known_after=3,
    trusted=[],
    offences=[],
)


def test_how_far_payers_are_trusted(nexus, daemon):
    daemon.script["pay.trust"] = TRUST
    assert (
        nexus("pay", "trust", tty=True).out
        == """\
LEVEL     TAB         UNSETTLED  OTHER OUTPUT
offender  0 in a tab  0 owed     held until it is settled
known     1 in a tab  5 owed     at once

all payers       50 owed
without a chain  0.1 owed, by one and by all
known            who was named here, written to or listed, or settled 3 payments
trusted          nobody (trust_peers)

nobody took a payment back
"""
    )
    offence = schema.OffenceView(
        key="k",
        at=AT,
        peer=BOB,
        payer="0xab",
        capability="chat",
        amount="0.02",
        asset="USDC",
        network="base",
        reason="cancelled by the payer",
    )
    daemon.script["pay.trust"] = replace(TRUST, trusted=[BOB], offences=[offence], peer=BOB, level="offender")
    shown = nexus("pay", "trust", BOB, tty=True).out
    assert daemon.params("pay.trust").peer == BOB
    assert f"\n{BOB[-8:]}         offender\n" in shown
    assert f"\ntrusted          {BOB}\n" in shown
    assert f"{clock(AT)}  {BOB[-8:]}  0xab     0.02 USDC  base     chat        cancelled by the payer\n" in shown


def test_a_payer_is_let_off(nexus, daemon):
    daemon.script["pay.clear"] = schema.PayCleared(cleared=2)
    assert nexus("pay", "clear", "0xab", tty=True).out == "let off: 2 payments stood against it\n"
    assert daemon.params("pay.clear").who == "0xab"


def test_what_was_used(nexus, daemon):
    row = schema.UsageView(
        peer=BOB,
        capability="chat",
        direction="in",
        calls=3,
        failed=1,
        input_bytes=10,
        output_bytes=2048,
        duration_ms=9,
        units=160,
        unit="token",
        amount="0.16",
        asset="USDC",
        network="base",
        last_at=AT,
    )
    free = replace(row, direction="out", calls=1, failed=0, units=0, unit="", amount="", asset="", network="")
    daemon.script["pay.usage"] = schema.PayUsage(rows=[row, free])
    assert nexus("pay", "usage", tty=True).out.splitlines()[1:] == [
        f"{BOB[-8:]}  chat        they call us  3 (1 failed)  160 tokens of output  0.16 USDC on base  10 B  2.0 KiB",
        f"{BOB[-8:]}  chat        we call them  1                                   nothing            10 B  2.0 KiB",
    ]
    asked = [replace(free, not_begun=2), replace(free, calls=0, not_begun=1), replace(row, not_begun=1)]
    daemon.script["pay.usage"] = schema.PayUsage(rows=asked)
    shown = nexus("pay", "usage", tty=True).out.splitlines()[1:]
    assert "  1, 2 not begun  " in shown[0]
    assert "we call them  1 not begun  " in shown[1]
    assert "  3 (1 failed), 1 not begun  " in shown[2]
    assert daemon.params("pay.usage").since == 0
    assert nexus("pay", "usage", "--since", "2026-11-01").code == 0
    assert daemon.params("pay.usage").since == 1_793_491_200_000
    daemon.script["pay.usage"] = schema.PayUsage(rows=[])
    assert nexus("pay", "usage", tty=True).out == "nothing was used\n"


def test_what_was_used_by_whom_and_earlier(nexus, daemon):
    row = schema.UsageView(
        peer=BOB,
        capability="upper",
        direction="in",
        calls=3,
        failed=1,
        input_bytes=2048,
        output_bytes=5,
        duration_ms=9,
        units=3,
        unit="call",
        amount="0.3",
        asset="USDC",
        network="base",
        last_at=AT,
    )
    older = replace(row, peer="", direction="out", failed=0, units=0, unit="", amount="", asset="", network="")
    daemon.script["pay.usage"] = schema.PayUsage(rows=[row, older])
    header, *lines = nexus("pay", "usage", "--since", "2026-11-01T00:00+00:00", tty=True).out.splitlines()
    assert header.split() == ["PEER", "CAPABILITY", "WHO", "CALLS", "UNITS", "PAID", "IN", "OUT"]
    assert lines[0].startswith(f"{BOB[-8:]}  upper       they call us  3 (1 failed)")
    assert "0.3 USDC on base  2.0 KiB  5 B" in lines[0]
    assert lines[1].startswith("earlier   upper       we call them  3 ")
    assert daemon.params("pay.usage").since == 1_793_491_200_000

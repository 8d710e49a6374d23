"""Paid calls between two daemons, typed as a user would, on a chain of our own that is taken for Base."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nexusd_protocols.payments.address import Address, read_address
from nexusd_protocols.payments.tokens import Token
from tests.harness import chains
from tests.harness.daemon import Daemon, Home, Watch, connect
from tests.harness.localchain import LocalChain
from tests.harness.process import poll

PASSWORD = "correct horse battery staple"
START = 5_000_000
"""What bob has: 5 USDC."""


class Market:
    """alice sells, bob buys; both settle on one chain."""

    def __init__(self, chain: LocalChain, alice: Daemon, bob: Daemon) -> None:
        self.chain = chain
        self.alice = alice
        self.bob = bob
        self.seller = _wallet(alice)
        self.buyer = _wallet(bob)
        chain.fund(self.seller)
        chain.mint(self.buyer, START)

    def serve(self, name: str, script: str, *options: str) -> None:
        self.alice.cli("capability", "serve", name, "--price", "0.10", *options, "--", "sh", "-c", script)

    def buy(self, name: str, text: str, *options: str) -> Any:
        return self.bob.cli("invoke", self.alice.peer_id, name, text, "--max-price", "0.10", *options)

    def refused(self, name: str, text: str, *options: str) -> dict[str, Any]:
        return self.bob.cli_error("invoke", self.alice.peer_id, name, text, *options)

    def balances(self) -> tuple[int, int]:
        return self.chain.balance(self.buyer), self.chain.balance(self.seller)

    def charges(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.alice.rpc("pay.settlements")["charges"]
        return found

    def settled(self) -> None:
        """Wait until nothing is on its way."""
        poll(
            lambda: all(row["unfunded"] or row["state"] in ("settled", "released") for row in self.charges()),
            "everything settled",
        )


def _wallet(daemon: Daemon) -> Address:
    made = daemon.cli("wallet", "new")
    assert made["unlocked"]
    return read_address(made["address"])


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    place = Home()
    place.env["NEXUS_WALLET_PASSWORD"] = PASSWORD
    with chains.some(tmp_path_factory.mktemp("chain")) as chain:
        node = ("--rpc-urls", f"base={chain.url}")
        with Daemon("alice", place, *node) as alice, Daemon("bob", place, *node) as bob:
            connect(bob, alice)
            yield Market(chain, alice, bob)
    place.remove()


def used(daemon: Daemon, capability: str) -> list[tuple[int, int, int]]:
    """Calls, those that failed, and those that were not begun."""
    rows = [row for row in daemon.rpc("pay.usage")["rows"] if row["capability"] == capability]
    return [(row["calls"], row["failed"], row["notBegun"]) for row in rows]


@pytest.fixture
def allowed(market: Market) -> Market:
    """A policy that pays."""
    market.bob.cli("pay", "policy", "set", "--per-request", "1", "--allow-network", "base", "--approve-above", "none")
    return market


def test_a_call_is_quoted_paid_settled_and_has_a_receipt(market: Market, tmp_path: Path) -> None:
    market.serve("upper", "tr a-z A-Z")
    quote = market.refused("upper", "hello")
    assert quote["code"] == "payment_required"
    assert "0.1 USDC on base" in quote["message"]

    denied = market.refused("upper", "hello", "--max-price", "0.10")
    assert denied["code"] == "payment_refused"
    assert "network" in denied["message"]
    assert market.balances() == (START, 0)

    market.bob.cli("pay", "policy", "set", "--per-request", "1", "--allow-network", "base")
    low = market.refused("upper", "hello", "--max-price", "0.09")
    assert low["code"] == "payment_refused"
    both = (market.alice, market.bob)
    poll(lambda: [used(each, "upper") for each in both] == [[(0, 0, 3)]] * 2, "three calls that asked for a price")

    done = market.buy("upper", "hello")
    assert done["output"] == "HELLO"
    payment = done["payment"]
    assert (payment["state"], payment["amount"], payment["asset"], payment["network"]) == (
        "paid",
        "0.1",
        "USDC",
        "base",
    )
    assert payment["receipt"] == "verified"
    # bob is a stranger: he got it only once it was settled
    assert payment["transaction"].startswith("0x")
    assert market.balances() == (START - 100_000, 100_000)
    balance = market.bob.cli("wallet", "balance")
    (base,) = [row for row in balance["balances"] if row["network"] == "base"]
    assert (base["online"], base["amount"]) == (True, "4.9")

    explained = market.bob.cli("pay", "explain", payment["id"])
    assert explained["purchase"]["state"] == "spent"
    file = tmp_path / "receipt.jws"
    file.write_text(explained["receipt"])
    verified = market.bob.cli("pay", "verify", str(file))
    assert verified["valid"]
    assert verified["receipt"]["provider"] == market.alice.peer_id
    assert verified["receipt"]["usage"]["inputBytes"] == 5
    assert verified["receipt"]["usage"]["outputBytes"] == 5
    head, body, signature = explained["receipt"].split(".")
    file.write_text(f"{head}.{body[:-4]}AAAA.{signature}")
    forged = market.bob.home.run(market.bob.argv("pay", "verify", str(file)))
    assert forged.returncode == 1
    assert json.loads(forged.stdout)["data"]["valid"] is False

    (row,) = market.bob.cli("pay", "receipts")["purchases"]
    assert row["id"] == payment["id"]
    table = market.bob.home.run(market.bob.argv("pay", "export", "--csv")).stdout.splitlines()
    assert table[0].startswith("id,cursor,at,state")
    assert [line.split(",")[0] for line in table[1:]] == [payment["id"]]

    status = market.alice.cli("pay", "settle", "--status")
    assert {"network": "base", "online": True, "settles": True, "problem": ""} in status["networks"]
    assert [(row["state"], row["amount"], row["unfunded"]) for row in status["charges"]] == [("settled", "0.1", False)]


def test_of_several_prices_the_cheapest_that_is_allowed_is_paid(allowed: Market) -> None:
    before = allowed.balances()
    prices = ("--price", "0.10@base", "--price", "0.09@base-sepolia", "--tab-price", "0.001")
    allowed.alice.cli("capability", "serve", "several", *prices, "--", "tr", "a-z", "A-Z")
    allowed.alice.restart()
    connect(allowed.bob, allowed.alice)
    allowed.alice.cli("wallet", "unlock")
    (offered,) = [
        row
        for row in allowed.bob.cli("capability", "list", allowed.alice.peer_id)["capabilities"]
        if row["name"] == "several"
    ]
    assert [(price["amount"], price["network"], price["unit"]) for price in offered["prices"]] == [
        ("0.1", "base", "call"),
        ("0.09", "base-sepolia", "call"),
        ("0.001", "base", "piece"),
    ]
    assert "0.1 USDC on base, or 0.09 USDC on base-sepolia, or 0.001" in allowed.refused("several", "x")["message"]
    payment = allowed.buy("several", "hello")["payment"]
    assert (payment["amount"], payment["network"], payment["receipt"]) == ("0.1", "base", "verified")
    both = ("--allow-network", "base", "--allow-network", "base-sepolia")
    allowed.bob.cli("pay", "policy", "set", *both)
    done = allowed.buy("several", "hello")
    payment = done["payment"]
    assert (done["output"], payment["amount"], payment["network"]) == ("HELLO", "0.09", "base-sepolia")
    assert payment["note"].startswith("unfunded")
    poll(lambda: allowed.balances() == (before[0] - 100_000, before[1] + 100_000), "what is paid on base is settled")


def test_a_stream_is_paid_and_comes_as_it_is_made(allowed: Market) -> None:
    before = allowed.balances()
    allowed.serve("count", "for i in 1 2 3; do echo $i; done", "--jsonl")
    lines = allowed.bob.cli_lines("invoke", allowed.alice.peer_id, "count", "x", "--stream", "--max-price", "0.10")
    *pieces, last = lines
    assert [piece["data"] for piece in pieces] == [1, 2, 3]
    assert last["end"]["payment"]["state"] == "paid"
    assert last["end"]["payment"]["receipt"] == "verified"
    allowed.settled()
    assert allowed.balances() == (before[0] - 100_000, before[1] + 100_000)


def test_failed_work_costs_nothing(allowed: Market) -> None:
    before = allowed.balances()
    allowed.serve("broken", "echo half; exit 3")
    failed = allowed.refused("broken", "x", "--max-price", "0.10")
    assert failed["code"] == "invoke_failed"
    assert failed["data"]["remoteCode"] == "COMMAND_FAILED"
    assert failed["data"]["payment"]["state"] == "unused"
    assert allowed.charges()[-1]["state"] == "released"
    assert allowed.balances() == before
    # what was signed is out of hand all the same, until its time is over
    explained = allowed.bob.cli("pay", "explain", failed["data"]["payment"]["id"])
    assert explained["purchase"]["state"] == "closed"
    assert explained["purchase"]["counts"] == "0.1"


def test_a_caller_that_gives_up_before_the_first_piece_pays_nothing(allowed: Market, tmp_path: Path) -> None:
    before = allowed.balances()
    begun = tmp_path / "begun"
    allowed.serve("slow", f"touch {begun}; sleep 60; echo late")
    call = allowed.bob.spawn_cli("invoke", allowed.alice.peer_id, "slow", "x", "--max-price", "0.10", "--stream")
    poll(begun.exists, "the work began")
    call.kill9()
    poll(lambda: allowed.charges()[-1]["state"] == "released", "the charge was released")
    assert allowed.balances() == before


def test_a_stream_that_was_given_up_is_not_whole_when_it_is_asked_for_again(allowed: Market) -> None:
    before = allowed.balances()
    allowed.alice.cli("dm", "send", allowed.bob.peer_id, "hello")  # a stranger's output would wait for the settlement
    allowed.serve("endless", "echo first; sleep 60")
    call = allowed.bob.spawn_cli("invoke", allowed.alice.peer_id, "endless", "x", "--max-price", "0.10", "--stream")
    call.item(lambda item: "first" in item.get("data", ""))
    assert call.interrupt() != 0
    paid = allowed.bob.cli("pay", "history")["purchases"][-1]["id"]
    again = ("endless", "x", "--max-price", "0.10", "--stream", "--again", paid)
    second = allowed.bob.spawn_cli("invoke", allowed.alice.peer_id, *again)
    last = second.item(lambda item: "end" in item or "error" in item)
    assert second.wait() == 1
    assert [json.loads(line)["data"] for line in second.lines[:-1]] == ["first\n"]
    assert last["error"]["code"] == "invoke_cancelled"
    assert "broken off" in last["error"]["message"]
    assert last["error"]["data"]["payment"]["receipt"] == "verified"
    allowed.settled()
    assert allowed.balances() == (before[0] - 100_000, before[1] + 100_000)


def test_a_person_decides_and_the_waiting_call_goes_on(allowed: Market) -> None:
    before = allowed.balances()
    allowed.serve("echo", "cat")
    allowed.bob.cli("pay", "policy", "set", "--approve-above", "0.05")
    call = _waiting(allowed)
    (row,) = allowed.bob.cli("pay", "approvals")["purchases"]
    assert (row["state"], row["amount"], row["capability"]) == ("waiting", "0.1", "echo")
    allowed.bob.cli("pay", "approve", row["id"])
    last = call.item(lambda item: "end" in item)
    assert last["end"]["payment"] == {**last["end"]["payment"], "id": row["id"], "state": "paid"}
    allowed.settled()
    assert allowed.balances() == (before[0] - 100_000, before[1] + 100_000)

    call = _waiting(allowed)
    (row,) = allowed.bob.cli("pay", "approvals")["purchases"]
    allowed.bob.cli("pay", "reject", row["id"])
    refused = call.item(lambda item: "error" in item)
    assert refused["error"]["code"] == "payment_rejected"
    assert allowed.bob.cli("pay", "approvals")["purchases"] == []
    assert allowed.bob.cli_error("pay", "approve", row["id"])["code"] == "refused"
    assert allowed.balances() == (before[0] - 100_000, before[1] + 100_000)


def _waiting(market: Market) -> Watch:
    call = market.bob.spawn_cli("invoke", market.alice.peer_id, "echo", "hi", "--max-price", "0.10", "--stream")
    poll(lambda: market.bob.rpc("pay.approvals")["purchases"], "somebody is asked")
    return call


def test_the_kill_switch_and_the_budget_stop_payments(allowed: Market) -> None:
    before = allowed.balances()
    allowed.serve("echo", "cat")
    assert allowed.bob.cli("pay", "stop")["stopped"]
    stopped = allowed.refused("echo", "x", "--max-price", "0.10")
    assert (stopped["code"], "switched off" in stopped["message"]) == ("payment_refused", True)
    allowed.bob.cli("pay", "stop", "--off")
    # what waits for a person stays where it is
    allowed.bob.cli("pay", "policy", "set", "--approve-above", "0.05")
    call = _waiting(allowed)
    (row,) = allowed.bob.cli("pay", "approvals")["purchases"]
    allowed.bob.cli("pay", "stop")
    assert "`nexus pay stop --off`" in allowed.bob.cli_error("pay", "approve", row["id"])["message"]
    allowed.bob.cli("pay", "reject", row["id"])
    assert call.item(lambda item: "error" in item)["error"]["code"] == "payment_rejected"
    allowed.bob.cli("pay", "stop", "--off")
    allowed.bob.cli("pay", "policy", "set", "--approve-above", "none")
    spent = allowed.bob.cli("pay", "policy", "show")["spentDay"]
    allowed.bob.cli("pay", "policy", "set", "--per-day", spent)
    over = allowed.refused("echo", "x", "--max-price", "0.10")
    assert "in a day" in over["message"]
    allowed.bob.cli("pay", "policy", "set", "--per-day", "none")
    assert allowed.balances() == before


def test_the_wallet_is_private_and_opens_with_its_password_only(allowed: Market, tmp_path: Path) -> None:
    bob = allowed.bob
    keystore = bob.data_dir / "wallet.json"
    assert stat.S_IMODE(keystore.stat().st_mode) == 0o600
    assert json.loads(keystore.read_text())["version"] == 3
    assert bob.cli_error("wallet", "new")["code"] == "wallet_exists"
    copy = tmp_path / "copy.json"
    bob.cli("wallet", "backup", str(copy))
    assert copy.read_text() == keystore.read_text()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    wrong = bob.home.run(bob.argv("wallet", "unlock"), env={"NEXUS_WALLET_PASSWORD": "wrong"})
    assert json.loads(wrong.stdout)["error"]["code"] == "wrong_password"
    for daemon in (bob, allowed.alice):
        assert PASSWORD not in daemon.log_text()


def test_a_provider_whose_wallet_is_locked_asks_nobody_to_pay(allowed: Market) -> None:
    alice, bob = allowed.alice, allowed.bob
    allowed.serve("shut", "cat")
    password = alice.home.env.pop("NEXUS_WALLET_PASSWORD")
    try:
        alice.restart()
    finally:
        alice.home.env["NEXUS_WALLET_PASSWORD"] = password
    connect(bob, alice)
    (row,) = [row for row in alice.cli("capability", "list")["capabilities"] if row["name"] == "shut"]
    assert not row["available"]
    assert row["problem"].startswith("base: the wallet that pays the gas is locked")
    (seen,) = [row for row in bob.cli("capability", "list", alice.peer_id)["capabilities"] if row["name"] == "shut"]
    assert (seen["available"], seen["problem"]) == (False, "")
    paid = len(bob.cli("pay", "history")["purchases"])
    assert allowed.refused("shut", "hello", "--max-price", "0.10")["code"] == "invoke_refused"
    assert len(bob.cli("pay", "history")["purchases"]) == paid, "nothing was signed"
    alice.cli("wallet", "unlock")
    assert allowed.buy("shut", "hello")["output"] == "hello"
    allowed.settled()


def test_keys_are_not_sent_by_mistake(market: Market) -> None:
    bob, alice = market.bob, market.alice
    text = f"my password: {'hunter' * 3}"
    refused = bob.cli_error("dm", "send", alice.peer_id, text)
    assert refused["code"] == "key_material"
    assert "hunter" not in refused["message"]
    bob.cli("dm", "send", alice.peer_id, text, "--anyway")
    (message,) = [each for each in alice.cli("dm", "list")["messages"] if each["direction"] == "in"]
    assert message["content"] == text
    bob.cli("room", "join", "keys")
    assert bob.cli_error("room", "send", "keys", text)["code"] == "key_material"
    sent = bob.cli("room", "send", "keys", "hello")
    assert bob.cli_error("room", "edit", "keys", sent["messageId"], text)["code"] == "key_material"


def test_a_provider_that_is_killed_at_work_is_asked_again_and_paid_once(allowed: Market, tmp_path: Path) -> None:
    before = allowed.balances()
    begun = tmp_path / "begun"
    allowed.serve("long", f"if [ -e {begun} ]; then cat; else touch {begun}; sleep 60; fi")
    call = allowed.bob.spawn_cli("invoke", allowed.alice.peer_id, "long", "hello", "--max-price", "0.10", "--stream")
    poll(begun.exists, "the work began")
    allowed.alice.kill9()
    allowed.alice.start()
    last = call.item(lambda item: "end" in item or "error" in item)
    assert "end" in last, last
    assert [json.loads(line).get("data") for line in call.lines[:-1]] == ["hello"]
    assert last["end"]["payment"]["receipt"] == "verified"
    allowed.settled()
    assert allowed.balances() == (before[0] - 100_000, before[1] + 100_000)


def test_a_provider_that_is_stopped_at_work_says_so_and_is_asked_again(allowed: Market, tmp_path: Path) -> None:
    before, peer = allowed.balances(), allowed.alice.peer_id
    begun = tmp_path / "begun"
    allowed.serve("patient", f"if [ -e {begun} ]; then cat; else touch {begun}; sleep 60; fi")
    call = allowed.bob.spawn_cli("invoke", peer, "patient", "hello", "--max-price", "0.10")
    poll(begun.exists, "the work began")
    allowed.alice.stop()
    error = call.item(lambda item: item.get("error"))["error"]
    assert (error["code"], error["message"]) == ("invoke_cancelled", "the provider is shutting down")
    id_ = error["data"]["payment"]["id"]
    assert f"--again {id_}" in error["try"]
    allowed.alice.start()
    connect(allowed.bob, allowed.alice)
    done = allowed.buy("patient", "hello", "--again", id_)
    assert (done["output"], done["payment"]["receipt"]) == ("hello", "verified")
    allowed.settled()
    assert allowed.balances() == (before[0] - 100_000, before[1] + 100_000)


def test_what_is_free_is_so_many_times_an_hour() -> None:
    """Neither side has a wallet, or a node of a chain."""
    place = Home()
    with Daemon("alice", place, "--free-calls", "2") as alice, Daemon("bob", place) as bob:
        connect(bob, alice)
        served = alice.cli("capability", "serve", "upper", "--price", "0", "--", "tr", "a-z", "A-Z")
        assert (served["free"], served["prices"][0]["amount"]) == (True, "0")
        alice.restart()
        connect(bob, alice)
        for _ in range(2):
            assert bob.cli("invoke", alice.peer_id, "upper", "hello")["output"] == "HELLO"
        refused = bob.cli_error("invoke", alice.peer_id, "upper", "hello")
        assert refused["code"] == "busy"
        assert "2 calls an hour are free" in refused["message"]
    place.remove()


EURX = Token(chain_id=31337, address=Address(b"\x44" * 20), symbol="EURX", name="Euro X", version="7", decimals=2)


def test_a_token_of_the_configuration_is_paid_in_if_it_is_what_it_says(tmp_path: Path) -> None:
    place = Home()
    place.env["NEXUS_WALLET_PASSWORD"] = PASSWORD
    with chains.some(tmp_path, token=EURX) as chain:
        options = ("--rpc-urls", f"{EURX.network}={chain.url}", "--tokens")
        right = f"{EURX.network}/{EURX.asset}/EURX/2/7/Euro X"
        with (
            Daemon("alice", place, *options, right) as alice,
            Daemon("bob", place, *options, right) as bob,
            Daemon("carol", place, *options, right.replace("/7/", "/8/")) as carol,
        ):
            market = Market(chain, alice, bob)
            connect(bob, alice)
            alice.cli(
                *("capability", "serve", "upper", "--price", "0.25", "--asset", "eurx", "--network", EURX.network),
                *("--", "tr", "a-z", "A-Z"),
            )
            assert "0.25 EURX on eip155:31337" in market.refused("upper", "hello")["message"]
            bob.cli("pay", "policy", "set", "--per-request", "1", "--allow-network", EURX.network)
            paying = ("--max-price", "0.25")
            assert "token" in market.refused("upper", "hello", *paying)["message"]
            bob.cli("pay", "policy", "set", "--allow-asset", "EURX")
            done = bob.cli("invoke", alice.peer_id, "upper", "hello", *paying)
            assert (done["output"], done["payment"]["amount"], done["payment"]["asset"]) == ("HELLO", "0.25", "EURX")
            assert market.balances() == (START - 25, 25)

            carol.expected_errors.append("chain_not_usable")

            # one of the wrong version would be signed for nothing: its node says so, and nothing is taken
            def problem() -> str:
                networks = carol.cli("pay", "settle", "--status")["networks"]
                return "".join(each["problem"] for each in networks if each["network"] == EURX.network)

            poll(lambda: "EURX" in problem(), "the token was compared with the chain's")
            assert "another domain" in problem()
    place.remove()


def test_a_caller_whose_daemon_is_killed_makes_the_call_again_and_pays_once(allowed: Market, tmp_path: Path) -> None:
    before, peer = allowed.balances(), allowed.alice.peer_id
    begun = tmp_path / "begun"
    allowed.serve("steady", f"touch {begun}; sleep 0.5; cat")
    call = allowed.bob.spawn_cli("invoke", peer, "steady", "hello", "--max-price", "0.10")
    poll(begun.exists, "the work began")
    allowed.bob.kill9()
    call.wait()
    allowed.bob.start()
    connect(allowed.bob, allowed.alice)
    row = allowed.bob.cli("pay", "history")["purchases"][-1]
    assert (row["state"], row["capability"]) == ("signed", "steady")
    other = allowed.refused("steady", "hello", "--max-price", "0.10", "--again", row["id"], "--max-duration", "20")
    assert other["code"] == "payment_refused"
    # what paid for nothing, or for another call, is no reason to pay for a new one
    paying = ("hello", "--max-price", "0.10", "--again")
    assert allowed.refused("steady", *paying, f"{row['id']}0")["code"] == "payment_unknown"
    allowed.serve("other", "cat")
    assert allowed.refused("other", *paying, row["id"])["message"] == f"It paid for steady of {peer}"
    for _ in range(2):
        done = allowed.buy("steady", "hello", "--again", row["id"][:-1])
        assert (done["output"], done["payment"]["id"], done["payment"]["receipt"]) == ("hello", row["id"], "verified")
    allowed.settled()
    assert allowed.balances() == (before[0] - 100_000, before[1] + 100_000)

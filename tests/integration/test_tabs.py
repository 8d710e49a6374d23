"""Calls paid by tabs, one behind the other, between two daemons on a chain of our own that is taken for Base."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.crash.market import PASSWORD, keep_wallet
from tests.harness import chains
from tests.harness.daemon import Daemon, Home, connect
from tests.harness.localchain import LocalChain
from tests.harness.paying import PAYEE, PAYER
from tests.harness.process import poll

START = 5_000_000
"""What bob has: 5 USDC."""


class Fair:
    """alice sells to bob, who stays a stranger however much he pays: his tabs grow to 0.06, and he may owe 0.2."""

    def __init__(self, chain: LocalChain, alice: Daemon, bob: Daemon) -> None:
        self.chain, self.alice, self.bob = chain, alice, bob

    def serve(self, name: str, script: str, price: str, *options: str, jsonl: bool = True) -> None:
        how = (*options, *(("--jsonl",) if jsonl else ()))
        self.alice.cli("capability", "serve", name, "--price", price, "--tab", *how, "--", "sh", "-c", script)

    def refused(self, name: str, *options: str) -> dict[str, Any]:
        return self.bob.cli_error("invoke", self.alice.peer_id, name, "x", *options)

    def argv(self, name: str, max_price: str) -> tuple[str, ...]:
        return ("invoke", self.alice.peer_id, name, "x", "--tab", "--max-price", max_price, "--stream")

    def balances(self) -> tuple[int, int]:
        return self.chain.balance(PAYER.address), self.chain.balance(PAYEE.address)

    def charges(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.alice.rpc("pay.settlements", limit=100)["charges"]
        return [row for row in found if row["capability"] == name]

    def settled(self, name: str) -> None:
        """Wait until nothing is on its way."""
        poll(lambda: all(row["state"] == "settled" for row in self.charges(name)), "everything settled")


@pytest.fixture(scope="module")
def fair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fair]:
    place = Home()
    place.env["NEXUS_WALLET_PASSWORD"] = PASSWORD
    keep_wallet(place, "alice", PAYEE)
    keep_wallet(place, "bob", PAYER)
    levels = ("--known-after", "1000", "--tab-stranger", "0.06", "--exposure-stranger", "0.2")
    with chains.some(tmp_path_factory.mktemp("chain")) as chain:
        chain.fund(PAYEE.address)
        chain.mint(PAYER.address, START)
        node = ("--rpc-urls", f"base={chain.url}")
        with Daemon("alice", place, *node, *levels) as alice, Daemon("bob", place, *node) as bob:
            connect(bob, alice)
            bob.cli("pay", "policy", "set", "--per-request", "1", "--allow-network", "base")
            yield Fair(chain, alice, bob)
    place.remove()


def count_to(number: int, *, pause: str = "") -> str:
    return f"i=0; while [ $i -lt {number} ]; do i=$((i+1)); echo $i; {pause} done"


def millionths(amount: str) -> int:
    return round(float(amount) * 10**6)


def test_tabs_follow_one_another_as_the_output_comes(fair: Fair) -> None:
    before = fair.balances()
    fair.serve("chat", count_to(160), "0.001")
    whole = fair.refused("chat", "--max-price", "0.50")
    assert "tab" in whole["message"]
    quote = fair.refused("chat")
    assert "0.001 USDC a piece, by tabs of 0.06 USDC at most" in quote["message"]
    *pieces, last = fair.bob.cli_lines(*fair.argv("chat", "0.50"))
    assert [piece["data"] for piece in pieces] == list(range(1, 161))
    payment = last["end"]["payment"]
    assert (payment["receipt"], payment["units"], payment["unit"], payment["tabs"]) == ("verified", 160, "piece", 3)
    cost = millionths(payment["amount"])
    assert cost == 160_000
    fair.settled("chat")
    assert fair.balances() == (before[0] - cost, before[1] + cost)
    charges = fair.charges("chat")
    assert [(row["tab"], row["amount"]) for row in charges[:2]] == [(1, "0.06"), (2, "0.06")]
    assert len({row["request"] for row in charges}) == 1
    explained = fair.bob.cli("pay", "explain", payment["id"])
    # what was signed for more at times
    assert explained["purchase"]["tabs"] == 3
    assert 160_000 < millionths(explained["purchase"]["signed"]) <= 180_000
    assert [tab["key"] for tab in explained["tabs"]] == [row["key"] for row in charges]
    used = [row for row in fair.alice.cli("pay", "usage")["rows"] if row["capability"] == "chat"]
    assert [(row["direction"], row["units"], row["unit"]) for row in used if row["units"]] == [("in", 160, "piece")]


def test_a_call_goes_on_to_what_it_may_cost_and_says_so(fair: Fair) -> None:
    before = fair.balances()
    fair.serve("endless", "yes 1", "0.001")
    call = fair.bob.home.run(fair.bob.argv(*fair.argv("endless", "0.15")))
    *pieces, last = map(json.loads, call.stdout.splitlines())
    assert call.returncode == 1
    assert last["error"]["code"] == "price_reached"
    assert "0.15 USDC" in last["error"]["message"]
    assert "--max-price" in last["error"]["try"]
    payment = last["error"]["data"]["payment"]
    assert (len(pieces), payment["amount"], payment["tabs"], payment["receipt"]) == (150, "0.15", 3, "verified")
    fair.settled("endless")
    assert fair.balances() == (before[0] - 150_000, before[1] + 150_000)


TOKENS = """for i in 1 2 3; do echo '{"event":"token","data":"a b c d","units":4}'; done"""


@pytest.mark.parametrize(
    ("per", "price", "script", "units", "unit"),
    [
        ("byte", "0.000001", "head -c 30000 /dev/zero | tr '\\0' x", 30_000, "byte"),
        ("10tokens", "0.001", TOKENS, 12, "token"),
        ("second", "0.001", "sleep 1.5; echo 1", 1, "second"),
    ],
    ids=["byte", "token", "second"],
)
def test_tabs_are_for_bytes_tokens_and_seconds(
    fair: Fair, per: str, price: str, script: str, units: int, unit: str
) -> None:
    name = f"by-{unit}"
    fair.serve(name, script, price, "--per", per, jsonl=unit != "byte")
    *_, last = fair.bob.cli_lines(*fair.argv(name, "0.50"))
    payment = last["end"]["payment"]
    assert (payment["units"], payment["unit"], payment["receipt"]) == (units, unit, "verified")
    listed = fair.alice.cli("capability", "list")["capabilities"]
    (shown,) = [each["prices"][0] for each in listed if each["name"] == name]
    assert (shown["unit"], shown["per"]) == (unit, 10 if unit == "token" else 1)


@pytest.mark.slow
def test_a_payer_that_takes_a_tab_back_is_found_out_and_gets_no_other(fair: Fair) -> None:
    fair.serve("steady", count_to(10_000, pause="sleep 0.05;"), "0.0001")
    call = fair.bob.spawn_cli(*fair.argv("steady", "0.50"))
    call.item(lambda item: item.get("data") == 10)
    (row,) = fair.charges("steady")
    fair.chain.cancel(PAYER, bytes.fromhex(row["key"].rpartition("/")[2]))
    fair.chain.mine(100)  # nothing undoes that block any more
    ended = call.item(lambda item: "error" in item)["error"]
    assert ended["data"]["reason"] == "invalid_transaction_state"
    poll(lambda: fair.charges("steady")[0]["state"] == "lost", "the charge was given up")
    refused = fair.refused("steady", "--tab", "--max-price", "0.50")
    assert refused["code"] == "invoke_refused"
    assert "taken back" in refused["message"]
    trust = fair.alice.cli("pay", "trust", fair.bob.peer_id)
    assert trust["level"] == "offender"
    assert [each["key"] for each in trust["offences"]] == [row["key"]]
    assert fair.alice.cli("pay", "clear", fair.bob.peer_id)["cleared"] == 1
    assert fair.alice.cli("pay", "trust", fair.bob.peer_id)["level"] == "stranger"
    fair.serve("steady", count_to(3), "0.0001")
    assert len(fair.bob.cli_lines(*fair.argv("steady", "0.50"))) == 4


def test_whoever_stops_a_call_pays_for_what_came(fair: Fair) -> None:
    before = fair.balances()
    fair.serve("stopped", "for i in $(seq 7); do echo $i; done; exec sleep 600", "0.001")
    call = fair.bob.spawn_cli(*fair.argv("stopped", "0.50"))
    call.item(lambda item: item.get("data") == 7)
    assert call.interrupt() == 1
    fair.settled("stopped")
    (row,) = fair.charges("stopped")
    assert row["amount"] == "0.007"
    assert fair.balances() == (before[0] - 7000, before[1] + 7000)


@pytest.mark.slow
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_either_side_is_killed_under_the_second_tab(fair: Fair, who: str) -> None:
    """The one is charged no more than it signed, the other loses no more than it gave on trust."""
    before, name = fair.balances(), f"killed-{who}"
    fair.serve(name, count_to(400, pause="sleep 0.01;"), "0.001")
    call = fair.bob.spawn_cli(*fair.argv(name, "0.30"))
    call.item(lambda item: item.get("data") == 75)
    daemon = fair.alice if who == "alice" else fair.bob
    daemon.kill9()
    call.wait()
    daemon.start()
    connect(fair.bob, fair.alice)
    came = sum("data" in json.loads(line) for line in call.lines)
    row = fair.bob.cli("pay", "history")["purchases"][-1]
    assert (row["capability"], row["tabs"]) == (name, 2)
    poll(lambda: len(fair.charges(name)) == 2, "the charges are there")
    fair.settled(name)
    paid, got = fair.balances()
    assert came * 1000 <= before[0] - paid == got - before[1] <= millionths(row["signed"])

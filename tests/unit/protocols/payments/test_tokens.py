"""Tokens: the vectors, and that what is known cannot be replaced."""

from __future__ import annotations

import pytest

from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.charge import key_parts
from nexusd_protocols.payments.tokens import (
    KNOWN,
    USDC_BASE,
    USDC_BASE_SEPOLIA,
    V1_NETWORKS,
    Token,
    Tokens,
    network_name,
    parse_network,
)
from tests.harness.vectors import vectors

ROWS = vectors("payments")["tokens"]
MINE = Token(chain_id=31337, address=Address(b"\x11" * 20), symbol="TEST", name="Test", version="1", decimals=18)


@pytest.mark.parametrize("row", ROWS, ids=[row["network"] for row in ROWS])
def test_known(row):
    token = Tokens().find(row["network"], row["asset"].lower())
    assert token is not None
    assert (token.network, token.v1_network, token.asset) == (row["network"], row["v1Network"], row["asset"])
    assert (token.symbol, token.name, token.version) == (row["symbol"], row["name"], row["version"])
    assert (token.decimals, f"0x{token.domain_separator.hex()}") == (row["decimals"], row["domainSeparator"])
    assert Tokens().named(token.chain_id) is token


def test_ledgers_name_it_by_chain_and_contract():
    assert USDC_BASE.asset_id == "eip155:8453/833589fcd6edb6e08f4c7c32d4f71b54bda02913"
    assert key_parts(f"{USDC_BASE.asset_id}/{'a' * 40}/{'b' * 64}").asset_id == USDC_BASE.asset_id


def test_all_are_in_the_vectors():
    assert len(KNOWN) == len(ROWS) == len(list(Tokens()))


def test_the_contract_has_another_name_on_the_test_network():
    assert (USDC_BASE.name, USDC_BASE_SEPOLIA.name) == ("USD Coin", "USDC")


def test_a_configuration_adds_and_does_not_replace():
    tokens = Tokens([MINE, MINE])
    assert tokens.get(31337, b"\x11" * 20) is MINE
    assert tokens.named(31337, "TEST") is MINE
    assert tokens.named(31337) is None
    forged = Token(chain_id=8453, address=USDC_BASE.address, symbol="USDC", name="USDC", version="2", decimals=6)
    with pytest.raises(ValueError, match="known with other properties"):
        Tokens([forged])


@pytest.mark.parametrize(
    ("network", "asset"),
    [
        ("base", USDC_BASE.asset),
        ("eip155:08453", USDC_BASE.asset),
        ("eip155:8453\n", USDC_BASE.asset),
        ("eip155:1", USDC_BASE.asset),
        ("eip155:8453", "USDC"),
        (None, USDC_BASE.asset),
        ("eip155:8453", None),
    ],
)
def test_not_found(network, asset):
    assert Tokens().find(network, asset) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"chain_id": 0},
        {"chain_id": 10**16},
        {"address": Address(b"")},
        {"symbol": ""},
        {"symbol": "US DC"},
        {"name": ""},
        {"name": "x" * 65},
        {"decimals": 37},
        {"decimals": -1},
    ],
)
def test_properties_have_bounds(changes):
    fields = {
        "chain_id": 1,
        "address": Address(b"\x11" * 20),
        "symbol": "T",
        "name": "T",
        "version": "1",
        "decimals": 6,
    }
    with pytest.raises(ValueError, match=r"token|chain id"):
        Token(**{**fields, **changes})


def test_networks_have_two_names():
    for name, chain_id in V1_NETWORKS.items():
        assert parse_network(name) == parse_network(f"eip155:{chain_id}") == chain_id
        assert network_name(chain_id) == name
    assert network_name(31337) == "eip155:31337"
    for text in ("", "Base", "eip155:", "eip155:01", "solana:x"):
        with pytest.raises(ValueError, match="a network is one of"):
            parse_network(text)


def test_amounts_for_people():
    assert USDC_BASE.parse("0.10") == 100_000
    assert USDC_BASE.show(100_000) == "0.1 USDC"

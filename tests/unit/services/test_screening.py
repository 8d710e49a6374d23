"""What each policy makes of key material, in text and anywhere in JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nexusd.services.screening import Screen
from nexusd_protocols.rpc.codes import Refusal

KEY = "sk-abcdefghijklmnop1234"
SAID = f"use {KEY} for it"
PLACES = ("TEXT", ["x", "TEXT"], {"a": {"b": ["TEXT"]}}, {"a": 1, "b": [None, True, "TEXT"]})


def put(place: Any, text: str) -> Any:
    if isinstance(place, list):
        return [put(each, text) for each in place]
    if isinstance(place, dict):
        return {name: put(each, text) for name, each in place.items()}
    return text if place == "TEXT" else place


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_each_policy_wherever_it_is(place: Any) -> None:
    data = put(place, SAID)
    assert Screen("allow").data(data) == data
    assert Screen("redact").data(data) == put(place, "use [redacted provider_key] for it")
    for policy in ("block", "ask"):
        refused = Screen(policy).data(data)
        assert isinstance(refused, Refusal)
        assert refused.code == "key_material"
        assert KEY not in refused.message
    assert Screen("ask").data(data, meant=True) == data
    assert isinstance(Screen("block").data(data, meant=True), Refusal)


@pytest.mark.parametrize("policy", ["redact", "block", "ask", "allow"])
def test_what_holds_none_goes_as_it_is(policy: Any) -> None:
    samples: list[Any] = ["hello", 7, None, [], {}, {"password": 7, "n": [1.5, {"x": "y"}]}, "a" * 100_000]
    for data in samples:
        assert Screen(policy).data(data) == data


HASH = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
PHRASE = "legal winner thank year wave sausage worth useful legal winner thank yellow"


def test_a_keystore_is_found_wherever_it_is() -> None:
    keystore = {"version": 3, "crypto": {"cipher": "aes-128-ctr", "ciphertext": HASH, "kdf": "scrypt"}}
    for data in (keystore, {"wallet": keystore}, json.dumps(keystore), {"file": json.dumps(keystore, indent=2)}):
        refused = Screen("block").data(data)
        assert isinstance(refused, Refusal)
        assert "keystore" in refused.message
        shown = Screen("redact").data(data)
        assert not isinstance(shown, Refusal)
        assert HASH not in json.dumps(shown)


def test_escapes_hide_nothing() -> None:
    for text in (f"here:\n{HASH}\n", f"\t{HASH}", f'"{HASH}"', f"\\{HASH}", "-----BEGIN PRIVATE KEY-----\nabc"):
        assert isinstance(Screen("block").data([text]), Refusal)
        assert HASH not in str(Screen("redact").data([text]))


def test_what_cannot_be_taken_out_is_refused() -> None:
    listed = {"words": PHRASE.split()}
    assert isinstance(Screen("block").data(listed), Refusal)
    assert isinstance(Screen("redact").data(listed), Refusal)
    assert Screen("ask").data(listed, meant=True) == listed


def test_a_fields_name_is_looked_through() -> None:
    assert Screen("redact").data({KEY: {"a": 1}}) == {"[redacted provider_key]": {"a": 1}}
    assert isinstance(Screen("block").data({KEY: 1}), Refusal)


@pytest.mark.parametrize("other", ["sk-zyxwvutsrqponmlk9876", "[redacted provider_key]"])
def test_no_field_is_lost_for_having_the_name_of_another_then(other: str) -> None:
    refused = Screen("redact").data([{"a": {KEY: 1, other: 2, "x": 3}}])
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.data) == ("key_material", {"kinds": "provider key"})
    assert "would have the same name" in refused.message
    assert KEY not in refused.message


def test_a_field_says_what_its_value_is() -> None:
    told = {"transactionHash": f"0x{HASH}", "topics": [f"0x{HASH}", f"0x{HASH}"]}
    assert Screen("block").data(told) == told
    assert Screen("redact").data({"blockHash": f"0x{HASH}", "x": f"0x{HASH}"}) == {
        "blockHash": f"0x{HASH}",
        "x": "[redacted hex_key]",
    }
    assert isinstance(Screen("block").data({"login": {"password": "hunter22"}}), Refusal)
    assert Screen("redact").data({"password": "hunter22", "n": 1}) == {"password": "[redacted]", "n": 1}

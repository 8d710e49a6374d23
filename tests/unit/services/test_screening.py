"""What each policy makes of key material, in text and anywhere in JSON."""

from __future__ import annotations

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


def test_a_field_says_what_its_value_is() -> None:
    assert isinstance(Screen("block").data({"login": {"password": "hunter22"}}), Refusal)
    assert Screen("redact").data({"password": "hunter22", "n": 1}) == {"password": "[redacted]", "n": 1}

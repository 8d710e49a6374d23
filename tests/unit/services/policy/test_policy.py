"""One answer, and which rule gave it."""

from __future__ import annotations

import pytest

from nexusd.services.policy import Policy, TrustList, TrustLists
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.nodes import signer

ALICE, BOB, MALLORY = (signer(name).peer_id for name in ("alice", "bob", "mallory"))
NOW = 1_800_000_000_000


def policy(**lists: TrustList) -> Policy:
    return Policy(TrustLists(**lists), lambda: NOW)


def ban(rules: Policy) -> None:
    rules.bans.add(rules.bans.sentence(MALLORY, "too_many_pings", NOW))


def test_everybody_is_welcome_by_default() -> None:
    rules = policy()
    assert rules.allows(BOB)
    assert rules.refuses_peer(BOB) is rules.refuses_room("lobby") is rules.refuses_capability("upper") is None


@pytest.mark.parametrize(
    ("blocked", "banned", "peers", "code", "words"),
    [
        (True, True, TrustList(deny=[MALLORY]), "peer_blocked", "is blocked: spam"),
        (False, True, TrustList(deny=[MALLORY]), "not_allowed", "is on deny_peers"),
        (False, True, TrustList(allow=[BOB]), "peer_banned", "2027-01-15 08:10 UTC: too_many_pings"),
        (False, False, TrustList(allow=[BOB]), "not_allowed", "is not on allow_peers"),
    ],
    ids=["blocked", "denied", "banned", "not allowed"],
)
def test_the_rule_that_refuses_is_named(blocked: bool, banned: bool, peers: TrustList, code: str, words: str) -> None:
    rules = policy(peers=peers)
    if blocked:
        rules.blocks[MALLORY] = "spam"
    if banned:
        ban(rules)
    refusal = rules.refuses_peer(MALLORY)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    assert words in refusal.message
    assert MALLORY in refusal.message
    assert refusal.row.try_
    assert not rules.allows(MALLORY)
    assert rules.allows(BOB)


@pytest.mark.parametrize(
    ("rule", "lists"),
    [
        ("deny_rooms", {"rooms": TrustList(deny=["x*"])}),
        ("allow_rooms", {"rooms": TrustList(allow=["y"])}),
        ("deny_capabilities", {"capabilities": TrustList(deny=["x*"])}),
        ("allow_capabilities", {"capabilities": TrustList(allow=["y"])}),
    ],
)
def test_rooms_and_capabilities_have_lists_of_their_own(rule: str, lists: dict[str, TrustList]) -> None:
    rules = policy(**lists)
    ask = rules.refuses_room if rule.endswith("rooms") else rules.refuses_capability
    other = rules.refuses_capability if rule.endswith("rooms") else rules.refuses_room
    refusal = ask("xyz")
    assert refusal is not None
    assert (refusal.code, refusal.data) == ("not_allowed", {"rule": rule})
    assert rule in refusal.message
    assert ask("y") is other("xyz") is None
    assert rules.allows(BOB)

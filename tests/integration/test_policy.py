"""Trust lists of a daemon, from its configuration to what others meet."""

from __future__ import annotations

from tests.harness.daemon import Daemon, Home, connect
from tests.harness.process import poll


def test_a_peer_on_the_deny_list_is_not_let_in_and_not_dialled(own_home: Home) -> None:
    with (
        Daemon("mallory", own_home) as mallory,
        Daemon("alice", own_home, "--deny-peers", mallory.peer_id) as alice,
    ):
        refusal = alice.cli_error("connect", mallory.tcp)
        assert refusal["code"] == "not_allowed"
        assert "is on deny_peers" in refusal["message"]
        mallory.home.nexus("--name", "mallory", "connect", alice.tcp)  # it may see itself connected for a moment
        assert mallory.cli_error("dm", "send", alice.peer_id, "hello")["exitCode"] == 2
        assert alice.connected() == set()
        poll(lambda: mallory.connected() == set(), "mallory alone")
        shown = {row["key"]: row for row in alice.cli("config", "show")["values"]}
        assert shown["deny_peers"]["value"] == [mallory.peer_id]


def test_only_peers_on_the_allow_list_are_let_in(own_home: Home) -> None:
    with (
        Daemon("bob", own_home) as bob,
        Daemon("carol", own_home) as carol,
        Daemon("alice", own_home, "--allow-peers", bob.peer_id) as alice,
    ):
        connect(bob, alice)
        carol.home.nexus("--name", "carol", "connect", alice.tcp)
        poll(lambda: alice.connected() == {bob.peer_id}, "bob alone")
        assert "is not on allow_peers" in alice.cli_error("connect", carol.tcp)["message"]


def test_rooms_and_capabilities_that_are_not_open(own_home: Home) -> None:
    lists = ["--deny-rooms", "spam*", "--allow-capabilities", "up*"]
    with Daemon("alice", own_home, *lists) as alice, Daemon("bob", own_home) as bob:
        connect(bob, alice)
        refusal = alice.cli_error("room", "join", "spam-2")
        assert refusal["code"] == "not_allowed"
        assert "is on deny_rooms" in refusal["message"]
        assert "nexus config show" in refusal["try"]
        alice.cli("room", "join", "work")
        assert alice.cli_error("capability", "serve", "down", "--", "cat")["code"] == "not_allowed"
        alice.cli("capability", "serve", "upper", "--", "tr", "a-z", "A-Z")
        assert bob.cli("invoke", alice.peer_id, "upper", "x")["output"] == "X"
        forbidden = bob.cli_error("invoke", alice.peer_id, "down", "x")
        assert forbidden["code"] == "invoke_refused"
        assert forbidden["data"] == {"remoteCode": "FORBIDDEN"}
        names = [row["name"] for row in bob.cli("capability", "list", alice.peer_id)["capabilities"]]
        assert names == ["upper"]

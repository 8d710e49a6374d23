"""`nexus find` between real daemons."""

from __future__ import annotations

from typing import Any

from nexusd_protocols.identity import Signer
from tests.harness.daemon import Daemon, Home, connect
from tests.harness.process import poll


def found(daemon: Daemon, name: str) -> list[Any]:
    """Providers of a capability."""
    providers: list[Any] = daemon.rpc("find.capability", name=name)["providers"]
    return providers


def test_an_agent_a_room_and_a_capability(alice: Daemon, bob: Daemon, carol: Daemon) -> None:
    bob.cli("profile", "set", "--display-name", "Bob", "--description", "I make text loud")
    bob.cli("room", "create", "find-lab", "--description", "our lab")
    bob.cli("capability", "serve", "find-upper", "--description", "louder", "--", "tr", "a-z", "A-Z")
    poll(lambda: found(carol, "find-upper"), "bob's capability, seen by carol", 20, 0.2)

    def told() -> Any:
        agent = carol.cli("find", "agent", bob.peer_id)
        return agent if "find-upper" in agent["profile"]["capabilities"] else None

    # the profile is another pointer than the capability's, and may come later
    agent = poll(told, "bob's newest profile, seen by carol", 20, 0.2)
    assert (agent["profile"]["name"], agent["profile"]["description"]) == ("Bob", "I make text loud")
    assert bob.tcp in agent["addresses"]

    (member,) = carol.cli("find", "room", "find-lab")["members"]
    assert (member["peerId"], member["description"]) == (bob.peer_id, "our lab")

    (provider,) = carol.cli("find", "capability", "find-upper")["providers"]
    assert (provider["peerId"], provider["confirmed"], provider["free"]) == (bob.peer_id, True, True)
    assert (provider["description"], provider["maxInputBytes"]) == ("louder", 1 << 20)
    assert carol.cli("invoke", provider["peerId"], "find-upper", "made loud")["output"] == "MADE LOUD"

    # others write under the same names, and nobody's word is another's
    carol.cli("room", "join", "find-lab")
    alice.cli("capability", "serve", "find-upper", "--", "cat")
    poll(lambda: len(found(carol, "find-upper")) == 2, "both providers", 20, 0.2)
    poll(lambda: len(alice.rpc("find.room", room="find-lab")["members"]) == 2, "both members", 20, 0.2)
    words = {m["peerId"]: m["description"] for m in alice.cli("find", "room", "find-lab")["members"]}
    assert words == {bob.peer_id: "our lab", carol.peer_id: ""}

    # what is taken back is gone at once
    bob.cli("capability", "remove", "find-upper")
    carol.cli("room", "leave", "find-lab")
    poll(lambda: [p["peerId"] for p in found(carol, "find-upper")] == [alice.peer_id], "alice alone", 20, 0.2)
    poll(lambda: len(alice.rpc("find.room", room="find-lab")["members"]) == 1, "bob alone", 20, 0.2)
    alice.cli("capability", "remove", "find-upper")


def test_nobody_is_found(alice: Daemon, bob: Daemon, carol: Daemon) -> None:
    assert bob.cli("find", "room", "no-such-room") == {"room": "no-such-room", "members": [], "unproven": 0}
    assert bob.cli("find", "capability", "no-such-capability")["providers"] == []
    stranger = Signer(b"\x77" * 32).peer_id
    error = bob.cli_error("find", "agent", stranger)
    assert (error["code"], error["exitCode"]) == ("unknown_peer", 2)
    assert stranger in error["message"]
    assert bob.cli_error("find", "room", "../x")["code"] == "invalid_name"


def test_who_knows_nobody_is_told_so(own_home: Home) -> None:
    with Daemon("alice", own_home) as alice:
        error = alice.cli_error("find", "capability", "upper")
        assert error["code"] == "unreachable"
        assert "connect to one first" in error["message"]


def test_who_stops_and_who_is_killed(own_home: Home) -> None:
    with Daemon("alice", own_home) as alice, Daemon("bob", own_home) as bob, Daemon("carol", own_home) as carol:
        connect(bob, alice)
        connect(carol, alice)
        bob.cli("capability", "serve", "upper", "--", "tr", "a-z", "A-Z")
        bob.cli("room", "join", "lab")
        bob.cli("room", "mirror", "hall", "--class", "mirrored")
        poll(lambda: found(carol, "upper"), "bob's capability", 20, 0.2)
        kept = poll(lambda: carol.cli("find", "agent", bob.peer_id)["storage"], "bob's offer of storage", 20, 0.2)
        assert kept["rooms"] == [{"room": "hall", "retention": "mirrored"}]
        poll(lambda: carol.rpc("find.room", room="lab")["members"], "bob's room", 20, 0.2)

        bob.stop()
        answer = carol.rpc("find.capability", name="upper")
        assert answer["providers"] == [], "it took it back as it went"
        assert answer["unreachable"] == 0
        assert carol.cli("find", "agent", bob.peer_id)["storage"] is None, "nor does it keep anything for anybody now"
        assert [member["peerId"] for member in carol.rpc("find.room", room="lab")["members"]], "it is in the room"

        bob.start()
        connect(bob, alice)
        poll(lambda: found(carol, "upper"), "bob's capability again", 20, 0.2)

        bob.kill9()
        poll(lambda: not found(carol, "upper"), "nobody is sent to who is dead", 30, 0.2)
        ran = own_home.run(carol.argv("find", "capability", "upper"))
        assert ran.returncode == 0
        assert "left out: 1 unreachable" in ran.stderr

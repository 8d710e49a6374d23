"""What a user types: each command of the first page, on three daemons."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.harness.daemon import Daemon, Home, data_of, meet
from tests.harness.process import poll

COUNT = """
import json, sys
for n in range(1, json.load(sys.stdin)["to"] + 1):
    print(json.dumps({"n": n}), flush=True)
"""


def test_status_says_who_and_where(alice: Daemon) -> None:
    status = alice.cli("status")
    assert status["name"] == "alice"
    assert status["peerId"].startswith("12D3KooW")
    assert status["agent"] == status["peerId"]
    assert status["role"] == "full"
    assert status["pid"] == alice.pid
    assert Path(status["dataDir"]) == alice.data_dir
    assert all(address.startswith("/ip4/127.0.0.1/") for address in status["addresses"])
    assert all(address.endswith(f"/p2p/{status['peerId']}") for address in status["addresses"])
    assert {("/ws" in address) for address in status["addresses"]} == {True, False}


def test_peers_lists_the_connected(alice: Daemon, bob: Daemon, carol: Daemon) -> None:
    peers = {peer["peerId"]: peer for peer in alice.cli("peers")["peers"]}
    assert {bob.peer_id, carol.peer_id} <= set(peers)
    assert peers[bob.peer_id]["connected"] is True
    assert peers[bob.peer_id]["direction"] == "in"
    assert alice.cli("peers", "list") == alice.cli("peers")


def test_a_room_reaches_everybody_in_it(alice: Daemon, bob: Daemon, carol: Daemon) -> None:
    meet("general", alice, bob, carol)
    watches = [daemon.spawn_cli("room", "watch", "general") for daemon in (bob, carol)]
    for watch in watches:
        # a watch that is not there yet would miss it: repeat until it is seen
        poll(
            lambda w=watch: (
                alice.cli("room", "send", "general", "hello") and any('"hello"' in line for line in w.lines)
            ),
            "hello on the watch",
            every=0.2,
        )
    for watch in watches:
        watch.interrupt()
    sent = alice.cli("room", "send", "general", "and *this*", "--format", "text/markdown")
    for daemon in (alice, bob, carol):
        row = poll(
            lambda d=daemon: next(
                (m for m in d.cli("room", "history", "general")["messages"] if m["messageId"] == sent["messageId"]),
                None,
            ),
            f"the message in {daemon.name}'s history",
            every=0.1,
        )
        assert (row["sender"], row["content"], row["format"]) == (alice.peer_id, "and *this*", "text/markdown")


def test_room_list_members_and_leave(alice: Daemon, bob: Daemon) -> None:
    meet("brief", alice, bob)
    assert "brief" in {room["room"] for room in alice.cli("room", "list")["rooms"]}
    members = {member["agent"]: member for member in alice.cli("room", "members", "brief")["members"]}
    assert members[bob.peer_id]["status"] == "online"
    alice.cli("room", "leave", "brief")
    assert "brief" not in {room["room"] for room in alice.cli("room", "list")["rooms"]}
    assert alice.cli_error("room", "send", "brief", "gone")["code"] == "not_joined"


def test_history_is_paged_by_cursor(alice: Daemon) -> None:
    alice.cli("room", "join", "pages")
    ids = [alice.cli("room", "send", "pages", f"m{n}")["messageId"] for n in range(5)]
    newest = alice.cli("room", "history", "pages", "--limit", "2")
    assert [row["messageId"] for row in newest["messages"]] == ids[3:]
    assert newest["more"] is True
    older = alice.cli("room", "history", "pages", "--limit", "2", "--before", str(newest["first"]))
    assert [row["messageId"] for row in older["messages"]] == ids[1:3]
    onward = alice.cli("room", "history", "pages", "--limit", "10", "--after", str(older["last"]))
    assert [row["messageId"] for row in onward["messages"]] == ids[3:]
    assert onward["more"] is False


def test_direct_messages(alice: Daemon, bob: Daemon) -> None:
    watch = bob.spawn_cli("dm", "watch")
    sent = []

    def seen() -> bool:
        sent.append(alice.cli("dm", "send", bob.peer_id, "just us"))
        return any('"just us"' in line for line in watch.lines)

    poll(seen, "the message on the watch", every=0.2)
    watch.interrupt()
    assert {message["status"] for message in sent} == {"stored"}
    inbox = {row["messageId"]: row for row in bob.cli("dm", "list", "--limit", "500")["messages"]}
    outbox = {row["messageId"]: row for row in alice.cli("dm", "list", "--limit", "500")["messages"]}
    for message in sent:
        row = inbox[message["messageId"]]
        assert (row["direction"], row["sender"], row["content"]) == ("in", alice.peer_id, "just us")
        assert (outbox[message["messageId"]]["direction"], outbox[message["messageId"]]["status"]) == ("out", "stored")


def test_the_end_of_a_peer_id_is_enough(alice: Daemon, bob: Daemon) -> None:
    assert alice.cli("dm", "send", bob.peer_id[-8:], "short")["peer"] == bob.peer_id


def test_a_peer_that_is_not_connected_to_us_but_known_is_reached(bob: Daemon, carol: Daemon) -> None:
    bob.cli("connect", carol.tcp)
    assert bob.cli("dm", "send", carol.peer_id, "hi")["status"] == "stored"


def test_a_command_as_capability(alice: Daemon, bob: Daemon) -> None:
    bob.cli("capability", "serve", "upper", "--", "tr", "a-z", "A-Z")
    try:
        assert "MAKE ME LOUD" in json.dumps(alice.cli("invoke", bob.peer_id, "upper", "make me loud"))
        assert "FROM STDIN" in json.dumps(alice.cli("invoke", bob.peer_id, "upper", "-", stdin="from stdin"))
        assert "upper" in {c["name"] for c in bob.cli("capability", "list")["capabilities"]}
        offered = alice.cli("capability", "list", bob.peer_id)
        assert offered["answered"] is True
        (upper,) = [c for c in offered["capabilities"] if c["name"] == "upper"]
        assert upper["available"] is True
        assert upper["free"] is True
        bob.cli("capability", "serve", "upper", "--", "cat")  # serving it again replaces it
        assert "as it is" in json.dumps(alice.cli("invoke", bob.peer_id, "upper", "as it is"))
    finally:
        bob.cli("capability", "remove", "upper")
    assert alice.cli_error("invoke", bob.peer_id, "upper", "x")["code"] == "capability_unknown"


def test_events_of_a_capability_come_one_by_one(alice: Daemon, bob: Daemon, tmp_path: Path) -> None:
    script = tmp_path / "count.py"
    script.write_text(COUNT)
    bob.cli("capability", "serve", "count", "--jsonl", "--", sys.executable, str(script))
    try:
        items = alice.cli_lines("invoke", bob.peer_id, "count", '{"to": 5}', "--stream")
        assert [item["data"] for item in items if "data" in item] == [{"n": n} for n in range(1, 6)]
    finally:
        bob.cli("capability", "remove", "count")


def test_profile(alice: Daemon, bob: Daemon) -> None:
    meet("named", alice, bob)
    alice.cli("profile", "set", "--display-name", "Alice A.")
    assert alice.cli("profile", "show")["displayName"] == "Alice A."

    def seen() -> bool:
        members = bob.cli("room", "members", "named")["members"]
        return any(m["agent"] == alice.peer_id and m["name"] == "Alice A." for m in members)

    poll(seen, "the new name at bob", every=0.2)


def test_block_and_unblock(alice: Daemon, carol: Daemon) -> None:
    alice.cli("peers", "block", carol.peer_id, "--reason", "noisy")
    try:
        poll(lambda: carol.peer_id not in alice.connected(), "carol cut off")
        blocked = [peer for peer in alice.cli("peers", "--blocked")["peers"] if peer["blocked"]]
        assert [(peer["peerId"], peer["blockReason"]) for peer in blocked] == [(carol.peer_id, "noisy")]
        assert alice.cli_error("dm", "send", carol.peer_id, "no")["code"] == "peer_blocked"
        assert carol.cli_error("dm", "send", alice.peer_id, "no")["exitCode"] == 2
        assert carol.peer_id not in alice.connected()
    finally:
        alice.cli("peers", "unblock", carol.peer_id)
    carol.cli("connect", alice.tcp)
    assert carol.cli("dm", "send", alice.peer_id, "again")["status"] == "stored"


def test_any_method_by_name(alice: Daemon) -> None:
    assert alice.cli("rpc", "node.status")["peerId"] == alice.peer_id
    assert alice.cli("rpc", "room.history", '{"room": "pages", "limit": 1}')["messages"] is not None
    assert alice.cli_error("rpc", "no.such")["code"] == "method_not_found"
    assert alice.cli_error("rpc", "room.join", '{"rom": "x"}')["code"] == "invalid_params"
    document = alice.cli("rpc", "rpc.discover")
    assert document["openrpc"].startswith("1.")
    assert {"node.status", "room.send", "capability.invoke"} <= {method["name"] for method in document["methods"]}


def test_openrpc_needs_no_daemon(own_home: Home) -> None:
    done = own_home.nexusd("openrpc")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["openrpc"].startswith("1.")


def test_completion_is_a_script(own_home: Home) -> None:
    for shell in ("bash", "zsh", "fish"):
        done = own_home.nexus("completion", shell)
        assert done.returncode == 0, done.stderr
        assert "nexus" in done.stdout
    assert own_home.run(["bash", "-n"], stdin=own_home.nexus("completion", "bash").stdout).returncode == 0


def test_config_says_where_each_value_comes_from(alice: Daemon) -> None:
    values = {row["key"]: row for row in alice.cli("config", "show", "--origin")["values"]}
    assert (values["mdns"]["value"], values["mdns"]["origin"]) == (False, "flag --no-mdns")
    assert values["role"]["origin"] == "default"


def test_bad_names_are_refused_with_a_reason(alice: Daemon) -> None:
    for room in ("a/b", "🦊", "x" * 65, "", ".."):
        assert alice.cli_error("room", "join", room)["code"] in ("invalid_name", "usage"), room
    assert alice.cli_error("dm", "send", "nobody", "x")["code"] in ("invalid_peer", "unknown_peer")
    stranger = "12D3KooWGzXgmrTKSFDGPBW6V4xTRmAnfUEVGfsEM9Kqe1n4oFxT"
    error = alice.cli_error("dm", "send", stranger, "x")
    assert (error["exitCode"], error["code"] in ("unknown_peer", "unreachable")) == (2, True)
    assert alice.cli_error("connect", "not-an-address")["code"] == "invalid_address"
    assert alice.cli_error("no-such-command")["exitCode"] == 1


def test_events_shows_what_happens(alice: Daemon, bob: Daemon) -> None:
    watch = alice.spawn_cli("events")
    poll(
        lambda: bob.cli("dm", "send", alice.peer_id, "event") and any('"dm"' in line for line in watch.lines),
        "a dm event",
        every=0.2,
    )
    event = watch.item(lambda e: e["kind"] == "dm" and e["data"]["content"] == "event")
    assert event["type"] == "message"
    assert isinstance(event["cursor"], int)
    watch.interrupt()
    # from a cursor on, nothing that is stored is missed: all that came behind it comes again
    later = [bob.cli("dm", "send", alice.peer_id, f"later {n}")["messageId"] for n in range(3)]
    again = alice.spawn_cli("events", "--cursor", str(event["cursor"]), "--kinds", "dm")
    again.item(lambda e: e["data"]["messageId"] == later[-1])
    ids = [json.loads(line)["data"]["messageId"] for line in again.lines]
    assert [one for one in ids if one in later] == later
    assert event["data"]["messageId"] not in ids
    again.interrupt()


def test_the_only_daemon_needs_no_name_and_several_are_listed(own_home: Home) -> None:
    error = json.loads(own_home.nexus("status").stdout)["error"]
    assert (error["code"], error["exitCode"]) == ("daemon_unreachable", 2)
    with Daemon("solo", own_home) as solo:
        assert data_of(own_home.nexus("status"))["peerId"] == solo.peer_id
        assert data_of(own_home.nexus("status", env={"NEXUS_DATA_DIR": str(solo.data_dir)}))["name"] == "solo"
        assert data_of(own_home.nexus("status", env={"NEXUS_NAME": "solo"}))["name"] == "solo"
        with Daemon("second", own_home):
            done = own_home.nexus("status")
            assert done.returncode in (1, 2)
            message = json.dumps(json.loads(done.stdout)["error"])
            assert "solo" in message
            assert "second" in message
            assert data_of(own_home.nexus("status", "--name", "second"))["name"] == "second"
            assert data_of(own_home.nexus("-n", "solo", "status"))["name"] == "solo"

"""A room that never forgets, as a user sees it: commands on real daemons."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from tests.harness.daemon import Daemon, Home, connect, meet
from tests.harness.history import STORE_FILE
from tests.harness.process import poll


def contents(daemon: Daemon, room: str, *options: str) -> list[str]:
    return [message["content"] for message in daemon.cli("room", "history", room, *options)["messages"]]


def until_contents(daemon: Daemon, room: str, expected: list[str]) -> None:
    poll(
        lambda: [m["content"] for m in daemon.rpc("room.history", room=room)["messages"]] == expected,
        f"{expected} in {daemon.name}'s history",
        every=0.1,
    )


def verified(daemon: Daemon, room: str) -> Any:
    found = daemon.cli("room", "verify", room)
    assert found["sound"], found
    return found


def test_who_was_away_and_who_is_new_read_all_of_it(own_home: Home) -> None:
    with Daemon("alice", own_home) as alice, Daemon("bob", own_home) as bob, Daemon("carol", own_home) as carol:
        connect(bob, alice)
        made = alice.cli("room", "create", "lab", "--description", "our lab", "--retention", "retained")
        assert (made["description"], made["retention"]) == ("our lab", "retained")
        assert alice.cli_error("room", "create", "lab")["code"] == "refused"
        bob.cli("room", "join", "lab")
        alice.cli("room", "send", "lab", "hello bob")
        until_contents(bob, "lab", ["hello bob"])

        bob.stop()
        alice.cli("room", "send", "lab", "where are you?")
        bob.start()
        until_contents(bob, "lab", ["hello bob", "where are you?"])

        connect(carol, bob)
        carol.cli("room", "join", "lab")
        until_contents(carol, "lab", ["hello bob", "where are you?"])
        watch = carol.spawn_cli("room", "watch", "lab", "--cursor", "0")
        # whichever came first: one may come by gossip, and all that was said by comparing
        for content in ("hello bob", "where are you?"):
            watch.item(lambda event, said=content: event["type"] == "message" and event["data"]["content"] == said)
        watch.interrupt()

        # carol never met alice before: what alice said is proven by alice's signature, not by bob
        found = verified(carol, "lab")
        assert found["messages"] == 3, "two that were said, and that the room was made"
        assert bob.peer_id in {peer["peer"] for peer in found["peers"] if peer["outcome"] == "equal"}
        assert len({verified(daemon, "lab")["peers"][0]["fingerprint"] for daemon in (alice, bob, carol)}) == 1


def test_edit_retract_search_and_versions(alice: Daemon, bob: Daemon) -> None:
    meet("words", alice, bob)
    first = alice.cli("room", "send", "words", "the budjet is fine")["messageId"]
    second = alice.cli("room", "send", "words", "a secret budget")["messageId"]
    until_contents(bob, "words", ["the budjet is fine", "a secret budget"])
    assert bob.cli_error("room", "edit", "words", first, "no")["code"] == "not_author"
    assert bob.cli_error("room", "edit", "words", "nothing", "no")["code"] == "message_unknown"
    alice.cli("room", "edit", "words", first, "the budget is fine")
    alice.cli("room", "retract", "words", second)
    for daemon in (alice, bob):
        until_contents(daemon, "words", ["the budget is fine", ""])
        edited, retracted = daemon.cli("room", "history", "words")["messages"]
        assert edited["editedAt"] > 0
        assert (retracted["retracted"], retracted["content"]) == (True, "")
        assert [m["content"] for m in daemon.cli("room", "search", "words", "budget")["messages"]] == [
            "the budget is fine"
        ]
        assert daemon.cli("room", "search", "words", "budjet")["messages"] == []
        versions = daemon.cli("room", "versions", "words", first)["versions"]
        assert [(v["kind"], v["content"]) for v in versions] == [
            ("chat", "the budjet is fine"),
            ("edit", "the budget is fine"),
        ]
    assert alice.cli_error("room", "edit", "words", second, "again")["code"] == "refused"
    verified(bob, "words")


def test_history_by_time_author_and_thread(alice: Daemon, bob: Daemon) -> None:
    meet("filters", alice, bob)
    alice.cli("room", "send", "filters", "one", "--thread", "plans")
    until_contents(bob, "filters", ["one"])
    bob.cli("room", "send", "filters", "two")
    until_contents(alice, "filters", ["one", "two"])
    assert contents(alice, "filters", "--author", bob.peer_id[-8:]) == ["two"]
    assert contents(alice, "filters", "--thread", "plans") == ["one"]
    assert contents(alice, "filters", "--since", "1h") == ["one", "two"]
    assert contents(alice, "filters", "--before", "1h") == []
    assert contents(alice, "filters", "--since", "2030-01-01") == []
    assert alice.cli_error("room", "history", "filters", "--since", "soon")["code"] == "usage"


def test_an_attachment_is_kept_by_who_hears_of_it(alice: Daemon, bob: Daemon, tmp_path: Path) -> None:
    meet("files", alice, bob)
    report = tmp_path / "report.txt"
    report.write_bytes(b"line\n" * 200_000)
    alice.cli("room", "send", "files", "see this", "--attach", str(report))
    until_contents(bob, "files", ["see this"])
    (message,) = bob.cli("room", "history", "files")["messages"]
    (cid,) = message["references"]
    got = tmp_path / "got.txt"
    bob.cli("content", "get", cid, "-o", str(got))
    assert got.read_bytes() == report.read_bytes()


def test_a_mirror_keeps_what_is_said_and_is_nobody(own_home: Home) -> None:
    with Daemon("alice", own_home) as alice, Daemon("bob", own_home) as bob, Daemon("carol", own_home) as carol:
        connect(bob, alice)
        alice.cli("room", "join", "lab")
        alice.cli("room", "send", "lab", "before")
        mirror = bob.cli("room", "mirror", "lab", "--class", "mirrored")
        assert (mirror["mirror"], mirror["retention"]) == (True, "mirrored")
        until_contents(bob, "lab", ["before"])
        assert bob.cli_error("room", "send", "lab", "me")["code"] == "not_joined"
        alice.cli("room", "send", "lab", "after")
        until_contents(bob, "lab", ["before", "after"])
        assert [m["agent"] for m in alice.cli("room", "members", "lab")["members"]] == [alice.peer_id]

        # alice is gone: whoever comes now has it from the mirror
        alice.stop()
        connect(carol, bob)
        carol.cli("room", "join", "lab")
        until_contents(carol, "lab", ["before", "after"])
        verified(carol, "lab")
        assert bob.cli("room", "mirror", "lab", "--off")["mirror"] is False
        assert bob.cli_error("room", "mirror", "lab", "--off")["code"] == "not_joined"
        assert contents(bob, "lab") == ["before", "after"]
        alice.start()


def test_verify_finds_what_was_changed_on_the_disk(own_home: Home) -> None:
    with Daemon("alice", own_home) as alice:
        alice.cli("room", "join", "lab")
        alice.cli("room", "send", "lab", "a true word")
        digest = alice.cli("room", "history", "lab")["messages"][0]["digest"]
        alice.stop()
        with sqlite3.connect(alice.data_dir / STORE_FILE) as database:
            (signed,) = database.execute("SELECT signed FROM room_messages").fetchone()
            forged = bytes(signed).replace(b"a true word", b"a FALSE one")
            database.execute("UPDATE room_messages SET signed = ?", (forged,))
        alice.start()
        done = alice.home.run(alice.argv("room", "verify", "lab"))
        assert done.returncode == 1
        data = json.loads(done.stdout)["data"]
        assert data["sound"] is False
        assert [(fault["what"], fault["name"]) for fault in data["faults"]] == [("message", digest)]


def test_sync_by_hand_says_what_it_brought(alice: Daemon, bob: Daemon) -> None:
    alice.cli("room", "join", "lonely")
    assert alice.cli("room", "sync", "lonely")["peers"] == []
    assert alice.cli_error("room", "sync", "elsewhere")["code"] == "not_joined"
    meet("lonely", alice, bob)
    alice.cli("room", "send", "lonely", "hello")
    until_contents(bob, "lonely", ["hello"])
    (peer,) = alice.cli("room", "sync", "lonely")["peers"]
    assert (peer["peer"], peer["received"], peer["sent"]) == (bob.peer_id, 0, 0)

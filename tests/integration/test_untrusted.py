"""What a peer wrote does not drive our terminal, and reaches programs as it was written."""

from __future__ import annotations

from tests.harness import terminal
from tests.harness.daemon import Daemon, meet
from tests.harness.process import poll

EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b31m\u202egnp.exe\u200b\r\x08\x00end"
LEFT = "end"


def shown_on_a_terminal(daemon: Daemon, *args: str) -> str:
    """What a command writes when its output is a terminal."""
    code, output = terminal.on_a_terminal(daemon, *args)
    assert code == 0, output
    return output.decode()


def harmless(text: str) -> None:
    """Colour of our own is allowed; what the peer sent to change anything is not."""
    for wrong in ("\x1b]", "\x1b[2J", "\x1b[31mred", "\x07", "\x08", "\x00", "\x9b", "\u202e", "\u200b"):
        assert wrong not in text, (wrong, text)
    assert LEFT in text


def test_room_and_direct_messages(alice: Daemon, bob: Daemon) -> None:
    meet("terminal", alice, bob)
    poll(
        lambda: (
            alice.cli("rpc", "room.send", dumps(room="terminal", content=EVIL))
            and bob.cli("room", "history", "terminal")["messages"]
        ),
        "the message at bob",
        every=0.2,
    )
    # programs get what was said
    assert bob.cli("room", "history", "terminal")["messages"][0]["content"] == EVIL
    harmless(shown_on_a_terminal(bob, "room", "history", "terminal"))
    alice.cli("rpc", "dm.send", dumps(peer=bob.peer_id, content=EVIL))
    harmless(shown_on_a_terminal(bob, "dm", "list", "--limit", "1"))


def test_names(alice: Daemon, bob: Daemon) -> None:
    meet("names", alice, bob)
    alice.cli("rpc", "profile.set", dumps(displayName=EVIL))
    try:
        poll(
            lambda: any(
                member["agent"] == alice.peer_id and (member["name"] or "").endswith(LEFT)
                for member in bob.cli("room", "members", "names")["members"]
            ),
            "the name at bob",
            every=0.2,
        )
        harmless(shown_on_a_terminal(bob, "room", "members", "names"))
    finally:
        alice.cli("profile", "set", "--display-name", "alice")


def test_output_of_a_capability(alice: Daemon, bob: Daemon) -> None:
    alice.cli("capability", "serve", "evil", "--", "printf", r"\033]0;owned\007\033[2J\033[31mred end")
    try:
        harmless(shown_on_a_terminal(bob, "invoke", alice.peer_id, "evil", ""))
        harmless(shown_on_a_terminal(bob, "invoke", alice.peer_id, "evil", "", "--stream"))
    finally:
        alice.cli("capability", "remove", "evil")


def dumps(**fields: object) -> str:
    import json

    return json.dumps(fields)

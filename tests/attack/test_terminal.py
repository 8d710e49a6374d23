"""What others wrote, on a real terminal: not one byte of it moves the cursor, from whatever door it came."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.harness.mallory import mallory
from tests.harness.nodes import until
from tests.harness.terminal import EVIL, harmless, shown


async def test_the_version_of_a_peer(alice: Daemon) -> None:
    async with mallory(alice, name="version", agent_version=f"{EVIL}version/6.6.6") as m:
        await until(
            lambda: any(p["peerId"] == m.peer_id and p["agentVersion"] for p in alice.rpc("peers.list")["peers"])
        )
        harmless(shown(alice, "peers"), shown=m.peer_id[-8:])
        harmless(shown(alice, "peers", "--json"), shown=m.peer_id)


def test_a_description(alice: Daemon, bob: Daemon) -> None:
    alice.rpc("capability.serve", name="described", description=f"{EVIL}words", command={"argv": ["true"], "cwd": "/"})
    try:
        harmless(shown(bob, "capability", "list", alice.peer_id), shown="words")
        harmless(shown(alice, "capability", "list"), shown="words")
        harmless(shown(bob, "capability", "list", alice.peer_id, "--json"), shown="described")
    finally:
        alice.rpc("capability.unregister", name="described")


@pytest.mark.parametrize("flags", [(), ("--stream",), ("--json",), ("--stream", "--json")])
def test_the_words_of_a_command_that_fails(alice: Daemon, bob: Daemon, tmp_path: Path, flags: tuple[str, ...]) -> None:
    script = tmp_path / "fails.py"
    script.write_text(f"import sys\nsys.stderr.write({EVIL!r} + 'stderr end')\nsys.exit(3)\n", encoding="utf-8")
    alice.rpc("capability.serve", name="fails", command={"argv": ["python3", str(script)], "cwd": "/"})
    try:
        harmless(shown(bob, "invoke", alice.peer_id, "fails", "x", *flags), shown="stderr end")
    finally:
        alice.rpc("capability.unregister", name="fails")


@pytest.mark.parametrize("flags", [(), ("--stream",), ("--json",), ("--stream", "--json")])
def test_events_and_their_names(alice: Daemon, bob: Daemon, tmp_path: Path, flags: tuple[str, ...]) -> None:
    script = tmp_path / "events.py"
    lines = [{"event": f"\x1b[2J\x9b{n}", "data": data} for n, data in enumerate([EVIL, {EVIL: EVIL}, [EVIL], "end"])]
    script.write_text("import sys\n" + "".join(f"print({json.dumps(line)!r})\n" for line in lines), encoding="utf-8")
    alice.rpc("capability.serve", name="named", command={"argv": ["python3", str(script)], "cwd": "/", "jsonl": True})
    try:
        harmless(shown(bob, "invoke", alice.peer_id, "named", "x", *flags), shown="end")
    finally:
        alice.rpc("capability.unregister", name="named")


def test_messages_in_json_on_a_terminal(alice: Daemon, bob: Daemon) -> None:
    """JSON escapes some control characters, and not those beyond ASCII: a terminal obeys them all the same."""
    bob.rpc("dm.send", peer=alice.peer_id, content=f"{EVIL}in json")
    harmless(shown(alice, "dm", "list", "--limit", "1", "--json"), shown="in json")
    harmless(shown(alice, "dm", "list", "--limit", "1"), shown="in json")
    harmless(shown(alice, "rpc", "dm.list", '{"limit":1}'), shown="in json")
    # and it is the same text to a program
    assert alice.cli("dm", "list", "--limit", "1")["messages"][0]["content"] == f"{EVIL}in json"


@pytest.mark.parametrize(
    "args",
    [
        ("room", "join", EVIL.replace("\x00", "")),
        ("invoke", EVIL.replace("\x00", ""), "x"),
        ("connect", EVIL.replace("\x00", "")),
        ("rpc", EVIL.replace("\x00", "")),
        (EVIL.replace("\x00", ""),),
    ],
    ids=["room", "peer", "address", "method", "command"],
)
def test_what_a_refusal_quotes(alice: Daemon, args: tuple[str, ...]) -> None:
    harmless(shown(alice, *args))

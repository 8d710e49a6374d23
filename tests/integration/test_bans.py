"""From a peer's misbehaviour to its ban, and out of it again, as a user types it."""

from __future__ import annotations

import json
import time

import pytest
import trio

from tests.harness.daemon import Daemon, Home, connect
from tests.harness.mallory import DM, Mallory, mallory
from tests.harness.nodes import until
from tests.harness.process import poll

JUNK = b"this is no frame\n"


async def misbehave(m: Mallory, victim: Daemon) -> float:
    """Send junk until the connection is cut. Returns how many seconds that took."""
    began = time.monotonic()
    with trio.fail_after(30):
        while m.host.get_network().get_connections():
            try:
                line = await m.open(victim, DM)
                await line.write(JUNK)
                await line.close_write()
            except Exception:  # stock code has many names for a connection that is cut
                await trio.sleep(0.05)
    return time.monotonic() - began


async def let_in(m: Mallory, victim: Daemon) -> bool:
    """Whether a connection stays."""
    try:
        await m.dial(victim)
    except Exception:  # as above
        return False
    # she hears of being cut off at once, and is told of nothing otherwise
    with trio.move_on_after(1):
        while m.host.get_network().get_connections():
            if m.peer_id in await trio.to_thread.run_sync(victim.connected):
                return True
            await trio.sleep(0.02)
    return False


def ban_of(daemon: Daemon, peer: str) -> dict[str, object] | None:
    return next((row["ban"] for row in daemon.cli("peers", "--banned")["peers"] if row["peerId"] == peer), None)


@pytest.mark.slow
async def test_mallory_earns_a_ban_that_survives_a_restart_and_a_person_ends(own_home: Home) -> None:
    with Daemon("alice", own_home) as alice:
        events = alice.spawn_cli("events", "--kinds", "peer")
        async with mallory(alice) as m:
            await until(lambda: m.peer_id in alice.connected())
            took = await misbehave(m, alice)
            assert took > 3, "a burst is one mistake"
            ban = await trio.to_thread.run_sync(ban_of, alice, m.peer_id)
            assert ban is not None
            assert (ban["reason"], ban["times"], ban["byHand"]) == ("bad_json", 1, False)
            assert ban["until"] - ban["since"] == 600_000
            assert not await let_in(m, alice)

            refusal = alice.cli_error("dm", "send", m.peer_id, "why?")
            assert refusal["code"] == "peer_banned"
            assert "bad_json" in refusal["message"]
            assert "nexus peers unban" in refusal["try"]
            told = events.item(lambda event: event["type"] == "banned")
            assert (told["data"]["peerId"], told["data"]["reason"]) == (m.peer_id, "bad_json")
            [line] = [json.loads(row) for row in alice.log_text().splitlines() if '"peer_banned"' in row]
            assert (line["peer"], line["address"], line["seconds"]) == (m.peer_id, "127.0.0.1", 600)

            await trio.to_thread.run_sync(alice.restart)
            assert await trio.to_thread.run_sync(ban_of, alice, m.peer_id) == ban
            assert not await let_in(m, alice)

            alice.cli("peers", "unban", m.peer_id[-8:])
            assert await let_in(m, alice)
            assert alice.cli("peers", "--banned")["peers"] == []
            assert alice.cli_error("peers", "unban", m.peer_id)["code"] == "refused"


def test_a_person_bans_for_a_time_that_ends_by_itself(alice: Daemon, carol: Daemon) -> None:
    alice.cli("peers", "ban", carol.peer_id, "--for", "4s", "--reason", "too loud")
    poll(lambda: carol.peer_id not in alice.connected(), "carol cut off")
    ban = ban_of(alice, carol.peer_id)
    if ban is not None:  # a busy machine may have taken four seconds
        assert (ban["reason"], ban["byHand"]) == ("too loud", True)
    poll(lambda: ban_of(alice, carol.peer_id) is None, "the end of the ban")
    connect(carol, alice)
    assert carol.cli("dm", "send", alice.peer_id, "again")["status"] == "stored"

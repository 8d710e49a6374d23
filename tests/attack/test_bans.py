"""What attackers make of bans: to escape them, to fill memory with them, and to have others banned."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import trio

from nexusd.client import Nexus
from nexusd_protocols.ids import RoomId
from nexusd_protocols.room.topics import room_topic
from tests.attack.penalties import charges
from tests.harness.daemon import Daemon, Home, connect, meet
from tests.harness.mallory import MESHSUB, chat, mallory, packed, rpc, unharmed
from tests.harness.nodes import signer, until
from tests.harness.wire import wire
from tests.harness.yamux import PING, SYN, Frame, ping

IDENTITIES = 300
AT_ONCE = 8
BANNED_SECONDS = 30.0
"""A flood takes less than ten; the machine may be busy."""
FLOOD = b"".join(ping(number) for number in range(400))


def bans(daemon: Daemon) -> dict[str, Any]:
    with Nexus.connect(data_dir=daemon.data_dir, timeout=10) as nexus:
        return {row.peer_id: row.ban for row in nexus.peers.list(banned=True).peers}


async def test_who_floods_and_comes_back_is_banned(alice: Daemon) -> None:
    peer = signer("flooder").peer_id
    floods = 0
    with unharmed(alice), trio.fail_after(BANNED_SECONDS):
        while peer not in await trio.to_thread.run_sync(bans, alice):
            with suppress(Exception):  # a connection that is refused while it is made has many names
                async with wire(alice, "flooder") as attacker:
                    await attacker.send(FLOOD)
                    await attacker.refused()
                    floods += 1
    assert floods >= 10, "ten floods: fewer may be a mistake"
    assert set(charges(alice, peer)) == {"too_many_pings"}
    ban = bans(alice)[peer]
    assert (ban.reason, ban.times) == ("too_many_pings", 1)
    with trio.fail_after(10), suppress(Exception):
        async with wire(alice, "flooder") as attacker:
            await attacker.refused()
    [refused] = {line["reason"] for line in lines(alice, "connection_refused") if line.get("peer") == peer}
    assert refused == "peer_refused"
    alice.cli("peers", "unban", peer)


def lines(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in daemon.log_text().splitlines() if f'"{event}"' in row]


async def test_many_identities_fill_no_memory(alice: Daemon, bob: Daemon) -> None:
    """Each breaks a rule and is gone; who has ids without end owes little under each."""
    limit = trio.CapacityLimiter(AT_ONCE)
    cut = 0

    async def one(number: int) -> None:
        nonlocal cut
        async with limit:
            with suppress(Exception):  # as above
                async with wire(alice, f"sybil-{number}") as attacker:
                    await attacker.send(bytes(Frame(PING, SYN, 7, 0)))  # a ping on a stream
                    await attacker.refused()
                    cut += 1

    with unharmed(alice, mebibytes=32):
        async with trio.open_nursery() as nursery:
            for number in range(IDENTITIES):
                nursery.start_soon(one, number)
    assert cut > IDENTITIES / 2
    charged = {line["peer"] for line in lines(alice, "peer_penalised")}
    assert sum(signer(f"sybil-{number}").peer_id in charged for number in range(IDENTITIES)) >= cut
    assert bob.peer_id not in charged
    assert bans(alice) == {}


async def test_an_honest_peer_is_not_banned_for_what_it_passes_on(own_home: Home) -> None:
    """alice has blocked mallory, bob has not: he passes on what mallory says, and it costs him nothing."""
    topic = room_topic(RoomId("relayed"))
    with Daemon("alice", own_home) as alice, Daemon("bob", own_home) as bob:
        connect(bob, alice)
        meet("relayed", alice, bob)
        alice.cli("peers", "block", signer("mallory").peer_id)
        async with mallory(bob) as m:
            line = await m.open(bob, MESHSUB)
            for start in range(0, 400, 50):
                batch = [packed(m.signed(topic, chat(m.peer_id, topic, f"spam {start + n}"))) for n in range(50)]
                assert await line.write(rpc(*batch))
            await until(lambda: len(contents(bob)) == 400, 60)
        bob.cli("room", "send", "relayed", "and this is mine")
        await until(lambda: "and this is mine" in contents(alice), 30)
        assert contents(alice) == ["and this is mine"]
        assert lines(alice, "peer_penalised") == []
        assert bob.peer_id in alice.connected()


def contents(daemon: Daemon) -> list[str]:
    return [row["content"] for row in daemon.rpc("room.history", room="relayed", limit=500)["messages"]]

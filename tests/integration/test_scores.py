"""How peers conduct themselves and rooms fare, as a user asks."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.daemon import Daemon, Home, meet
from tests.harness.process import poll

TOPIC = "/nexus/room/watched"


def stats(daemon: Daemon, room: str) -> dict[str, Any]:
    (found,) = daemon.cli("room", "stats", room)["rooms"]
    return dict(found)


def test_a_room_tells_how_its_messages_fare(alice: Daemon, bob: Daemon, carol: Daemon) -> None:
    meet("watched", alice, bob, carol)
    poll(lambda: stats(alice, "watched")["mesh"] == 2, "alice's mesh")
    before = stats(bob, "watched")
    for number in range(3):
        alice.cli("room", "send", "watched", f"message {number}")
    poll(lambda: stats(bob, "watched")["delivered"] >= before["delivered"] + 3, "the deliveries")
    here = stats(alice, "watched")
    assert here["peers"] == 2
    assert here["published"] >= 3
    assert (here["rejected"], here["dropped"], here["promisesBroken"]) == (0, 0, 0)
    assert stats(bob, "watched")["bytesReceived"] > before["bytesReceived"]
    assert here["room"] in {room["room"] for room in alice.cli("room", "stats")["rooms"]}
    assert alice.cli_error("room", "stats", "nowhere")["code"] == "not_joined"


def test_peers_are_listed_by_their_score(alice: Daemon, bob: Daemon, carol: Daemon) -> None:
    meet("watched", alice, bob, carol)

    def neighbour() -> dict[str, Any] | None:
        rows = alice.cli("peers", "--scores")["peers"]
        totals = [row["score"]["total"] or 0 for row in rows]
        assert totals == sorted(totals)
        row = next(row for row in rows if row["peerId"] == bob.peer_id)
        ours = [each for each in row["score"]["topics"] if each["topic"] == TOPIC and each["inMesh"]]
        return dict(row) if ours and row["score"]["total"] > 0 else None

    row = poll(neighbour, "a score for bob, for his time in the mesh", every=0.2)
    assert row["agentVersion"].startswith("nexusd/")
    assert row["addresses"]


def test_metrics_are_what_prometheus_reads(alice: Daemon, bob: Daemon, home: Home) -> None:
    meet("measured", alice, bob)
    poll(lambda: stats(alice, "measured")["mesh"] >= 1, "the mesh")
    printed = home.nexus("--name", "alice", "metrics")
    assert printed.returncode == 0, printed.stderr
    found = {
        (sample.name, sample.labels.get("room", "")): sample.value
        for family in text_string_to_metric_families(printed.stdout)
        for sample in family.samples
    }
    assert found[("nexusd_peers_connected", "")] >= 2
    assert found[("nexusd_room_mesh_peers", "measured")] >= 1
    assert found[("nexusd_room_rejected_total", "measured")] == 0
    assert found[("nexusd_gossip_rpcs_received_total", "")] > 0
    if Path("/proc/self/stat").exists():
        assert found[("process_resident_memory_bytes", "")] > 1 << 20
    assert alice.rpc("node.metrics")["text"].startswith("# HELP nexusd_build_info")


def test_prometheus_scrapes_where_it_was_told(own_home: Home) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with Daemon("alice", own_home, "--metrics-listen", address):
        answer = httpx.get(f"http://{address}/metrics", trust_env=False, timeout=30)
        assert answer.status_code == 200
        names = {family.name for family in text_string_to_metric_families(answer.text)}
        assert {"nexusd_build", "nexusd_peers_connected", "nexusd_loop_lag_seconds"} <= {*names} | {
            name.removesuffix("_info") for name in names
        }
        taken = own_home.nexusd("run", "--name", "bob", "--loopback", "--no-mdns", "--metrics-listen", address)
        assert taken.returncode == 1
        assert "metrics_listen" in taken.stderr
    refused = own_home.nexusd("run", "--name", "bob", "--metrics-listen", "0.0.0.0:9464")
    assert refused.returncode == 1
    assert "metrics_public" in refused.stderr

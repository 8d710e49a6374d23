"""Slow readers and long outputs: memory stays bounded, and nobody else waits."""

from __future__ import annotations

import contextlib
import json

import psutil

from nexusd.services.capabilities.registry import WAITING_PER_SLOT
from tests.harness.daemon import Daemon
from tests.harness.process import poll
from tests.integration.raw import Raw, alive

GROWTH = 48 << 20
"""What a daemon may grow by: the window of the muxer, the buffers of both ends, and what the allocator keeps."""
CREDIT = 64 << 10


def commands(daemon: Daemon) -> list[psutil.Process]:
    """What the daemon runs for its callers."""
    found = []
    for process in psutil.Process(daemon.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended since it was listed
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def test_a_caller_who_never_reads_holds_back_the_provider(alice: Daemon, bob: Daemon) -> None:
    bob.cli("capability", "serve", "endless", "--jsonl", "--", "yes", json.dumps("x" * 1000))
    before = {daemon: daemon.rss() for daemon in (alice, bob)}
    try:
        with Raw(alice) as raw:
            call = {"peer": bob.peer_id, "capability": "endless", "input": "", "stream": True, "credit": CREDIT}
            limits = {"maxOutputBytes": 1 << 30, "maxDurationMs": 60_000}
            assert "result" in raw.ask(id=1, method="capability.invoke", params={**call, **limits})
            received = 0
            raw.socket.settimeout(3)
            # silence for three seconds is the end of the credit, or of the call
            try:
                while line := raw.file.readline():
                    message = json.loads(line)
                    assert message["method"] in ("invoke.event", "invoke.end"), message
                    if message["method"] == "invoke.end":
                        break
                    received += len(message["params"]["data"])
            except TimeoutError:
                pass
            assert 0 < received <= 2 * CREDIT
            for daemon in (alice, bob):
                assert daemon.rss() - before[daemon] < GROWTH, daemon.name
            alive(alice)
            alive(bob)
            assert bob.cli("dm", "send", alice.peer_id, "meanwhile")["status"] == "stored"
        poll(lambda: not commands(bob), "the command ends with its caller")
    finally:
        bob.cli("capability", "remove", "endless")


def test_a_long_stream_arrives_whole(alice: Daemon, bob: Daemon) -> None:
    count = 20_000
    bob.cli("capability", "serve", "many", "--jsonl", "--", "seq", "1", str(count))
    try:
        items = alice.cli_lines("invoke", bob.peer_id, "many", "", "--stream", "--max-output", "1000000", timeout=60)
        assert [item["data"] for item in items if "data" in item] == list(range(1, count + 1))
    finally:
        bob.cli("capability", "remove", "many")


def test_large_input_arrives_whole(alice: Daemon, bob: Daemon) -> None:
    text = "".join(f"line {n}\n" for n in range(40_000))
    bob.cli("capability", "serve", "count-bytes", "--", "wc", "-c")
    try:
        result = alice.cli("invoke", bob.peer_id, "count-bytes", "--max-input", "1000000", stdin=text, timeout=60)
        assert str(len(text)) in json.dumps(result)
    finally:
        bob.cli("capability", "remove", "count-bytes")


def test_calls_beyond_the_limit_wait_and_beyond_that_are_refused(alice: Daemon, bob: Daemon) -> None:
    bob.cli("capability", "serve", "one", "--max-concurrent", "1", "--", "sleep", "1000")
    try:
        calls = [alice.spawn_cli("invoke", bob.peer_id, "one", "", "--stream") for _ in range(1 + WAITING_PER_SLOT)]

        def full() -> bool:
            offered = alice.rpc("capability.list", peer=bob.peer_id)["capabilities"]
            return not next(c["available"] for c in offered if c["name"] == "one")

        poll(full, "one call runs and the others wait", every=0.1)
        assert len(commands(bob)) == 1
        assert alice.cli_error("invoke", bob.peer_id, "one", "")["code"] == "busy"
        (first,) = commands(bob)
        first.kill()
        ended = poll(lambda: [call for call in calls if call.popen.poll() is not None], "the first call ends")
        assert len(ended) == 1
        poll(lambda: [p for p in commands(bob) if p.pid != first.pid], "the next call begins")
        for call in calls:
            if call not in ended:
                call.interrupt()
        poll(lambda: not commands(bob), "all calls end")
    finally:
        bob.cli("capability", "remove", "one")


def test_a_command_past_its_time_is_killed(alice: Daemon, bob: Daemon) -> None:
    bob.cli("capability", "serve", "sleepy", "--timeout", "0.5", "--", "sleep", "1000")
    try:
        assert alice.cli_error("invoke", bob.peer_id, "sleepy", "")["exitCode"] in (1, 2)
        poll(lambda: not commands(bob), "the command is gone")
    finally:
        bob.cli("capability", "remove", "sleepy")


def test_a_stubborn_command_is_killed_on_cancel(alice: Daemon, bob: Daemon) -> None:
    script = "trap '' TERM INT HUP; while :; do echo 1; sleep 0.05; done"
    bob.cli("capability", "serve", "stubborn", "--jsonl", "--", "sh", "-c", script)
    try:
        call = alice.spawn_cli("invoke", bob.peer_id, "stubborn", "", "--stream")
        call.items(2)
        assert call.interrupt() == 1
        poll(lambda: not commands(bob), "the process group is gone")
    finally:
        bob.cli("capability", "remove", "stubborn")

"""The life of the process: start, restart, signals, kill -9, and a second daemon."""

from __future__ import annotations

import json
import os
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nexusd import paths
from tests.harness.daemon import CliError, Daemon, Home, connect, data_of, meet
from tests.harness.process import poll


@pytest.fixture
def dave(own_home: Home) -> Iterator[Daemon]:
    with Daemon("dave", own_home) as daemon:
        yield daemon


def test_everything_is_there_after_a_restart(own_home: Home) -> None:
    with Daemon("dave", own_home) as dave, Daemon("erin", own_home) as erin:
        connect(erin, dave)
        meet("kept", dave, erin)
        sent = erin.cli("room", "send", "kept", "before")["messageId"]
        poll(
            lambda: sent in [m["messageId"] for m in dave.cli("room", "history", "kept")["messages"]],
            "the message before the restart",
            every=0.1,
        )
        direct = erin.cli("dm", "send", dave.peer_id, "before")["messageId"]
        dave.cli("profile", "set", "--display-name", "Dave")
        dave.cli("capability", "serve", "upper", "--", "tr", "a-z", "A-Z")
        before = dave.status()
        cursor = dave.cli("rpc", "node.subscribe", "{}")["cursor"]
        history = dave.cli("room", "history", "kept")["messages"]

        dave.restart()

        after = dave.status()
        assert after["peerId"] == before["peerId"]
        assert after["addresses"] == before["addresses"], "the port is remembered"
        assert "kept" in after["rooms"]
        assert "upper" in after["capabilities"]
        assert dave.cli("profile", "show")["displayName"] == "Dave"
        assert dave.cli("room", "history", "kept")["messages"] == history
        assert direct in [m["messageId"] for m in dave.cli("dm", "list")["messages"]]
        # they find each other again by themselves
        poll(lambda: erin.peer_id in dave.connected(), "reconnected", timeout=40, every=0.2)
        assert erin.cli("dm", "send", dave.peer_id, "after")["status"] == "stored"
        again = "AFTER" in json.dumps(erin.cli("invoke", dave.peer_id, "upper", "after"))
        assert again
        watch = dave.spawn_cli("events", "--cursor", str(cursor), "--kinds", "dm")
        assert watch.item()["data"]["content"] == "after"
        meet("kept", dave, erin)
        poll(
            lambda: (
                erin.cli("room", "send", "kept", "again")
                and "again" in [m["content"] for m in dave.cli("room", "history", "kept")["messages"]]
            ),
            "rooms work after the restart",
            every=0.2,
        )


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_exits_0(own_home: Home, sign: signal.Signals) -> None:
    with Daemon("dave", own_home) as dave, Daemon("erin", own_home) as erin:
        connect(erin, dave)
        dave.cli("capability", "serve", "slow", "--jsonl", "--", "sh", "-c", "while :; do echo 1; sleep 0.1; done")
        call = erin.spawn_cli("invoke", dave.peer_id, "slow", "", "--stream")
        watch = dave.spawn_cli("events")
        call.items(2)
        children = psutil.Process(dave.pid).children(recursive=True)
        assert children
        process = dave.process
        process.popen.send_signal(sign)
        assert process.wait() == 0
        dave._process = None
        dave.check_log()
        assert not paths.answers(paths.socket_of(dave.data_dir))
        assert call.wait() != 0, "the caller hears that the provider went away"
        watch.interrupt()  # it waits for the daemon to come back
        _, alive = psutil.wait_procs(children, timeout=3)
        assert not alive, "what a capability started ends with the daemon"


def test_nexus_stop(dave: Daemon) -> None:
    dave.cli("stop")
    assert dave.process.wait() == 0
    dave._process = None


def test_kill_9_leaves_nothing_that_hinders_the_next_start(own_home: Home) -> None:
    with Daemon("dave", own_home) as dave:
        addresses = dave.addresses
        dave.cli("room", "join", "kept")
        for _ in range(2):
            dave.kill9()
            error = json.loads(own_home.nexus("--name", "dave", "status").stdout)["error"]
            assert error["exitCode"] == 2
            dave.start()
        assert dave.addresses == addresses
        assert "kept" in dave.status()["rooms"]


def test_a_second_daemon_on_one_directory_is_refused(dave: Daemon) -> None:
    done = dave.home.nexusd("run", "--name", "dave", "--loopback", "--no-mdns")
    assert done.returncode == 1
    assert "already" in done.stderr
    assert str(dave.pid) in done.stderr
    assert "Traceback" not in done.stderr
    assert dave.status()["pid"] == dave.pid


def test_detach_returns_when_it_is_ready(own_home: Home) -> None:
    done = own_home.nexusd("run", "--name", "far", "--detach", "--loopback", "--no-mdns")
    assert done.returncode == 0, done.stderr
    status = data_of(own_home.nexus("--name", "far", "status"))
    try:
        assert os.getsid(status["pid"]) != os.getsid(0)
        again = own_home.nexusd("run", "--name", "far", "--detach", "--loopback", "--no-mdns")
        assert again.returncode == 1
        assert "already" in again.stderr
    finally:
        process = psutil.Process(status["pid"])
        data_of(own_home.nexus("--name", "far", "stop"))
        process.wait()
    log = own_home.data_dir("far") / "nexusd.log"
    assert "Traceback" not in log.read_text()


def test_a_start_that_fails_says_why(own_home: Home) -> None:
    done = own_home.nexusd("run", "--name", "x", "--detach", "--port", "1", "--listen", "/ip4/127.0.0.1/tcp/2")
    assert done.returncode == 1
    assert "port" in done.stderr
    assert "Traceback" not in done.stderr
    done = own_home.nexusd("run", "--name", "a/b")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_named(dave: Daemon) -> None:
    port = dave.tcp.split("/tcp/")[1].split("/")[0]
    done = dave.home.nexusd("run", "--name", "late", "--loopback", "--no-mdns", "--port", port)
    assert done.returncode == 1
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def test_files_are_the_owners_alone(dave: Daemon) -> None:
    assert stat.S_IMODE(dave.data_dir.stat().st_mode) == 0o700
    place = paths.socket_of(dave.data_dir)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    loose = [file for file in dave.data_dir.rglob("*") if file.is_file() and stat.S_IMODE(file.stat().st_mode) & 0o077]
    assert not [file for file in loose if "key" in file.name or "identity" in file.name], loose


def test_a_long_data_directory_moves_the_socket(own_home: Home) -> None:
    with tempfile.TemporaryDirectory() as base:
        place = Path(base) / ("d" * 60) / ("e" * 60)
        place.mkdir(parents=True)
        flags = ["--loopback", "--no-mdns", "--data-dir", str(place)]
        done = own_home.nexusd("run", "--detach", *flags)
        assert done.returncode == 0, done.stderr
        status = data_of(own_home.nexus("--data-dir", str(place), "status"))
        try:
            assert len(status["socket"].encode()) <= 100
            assert status["socket"].startswith(own_home.env["XDG_RUNTIME_DIR"])
            assert (place / "socket").read_text().strip() == status["socket"]
            assert data_of(own_home.nexus("status", env={"NEXUS_DATA_DIR": str(place)}))["pid"] == status["pid"]
        finally:
            process = psutil.Process(status["pid"])
            data_of(own_home.nexus("--data-dir", str(place), "stop"))
            process.wait()


def test_the_cli_without_its_daemon_says_what_to_do(own_home: Home) -> None:
    done = own_home.nexus("--name", "nobody", "status")
    assert done.returncode == 2
    assert "nexusd run" in json.loads(done.stdout)["error"]["try"]
    with pytest.raises(CliError):
        data_of(done)

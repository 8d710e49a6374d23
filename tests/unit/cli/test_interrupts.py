"""The command line as a process: Ctrl-C, and readers that go away."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from nexusd_protocols.rpc import schema
from tests.harness.scripted import Reply
from tests.unit.cli.answers import BOB
from tests.unit.cli.streams import call, piece, said, waits, wrote

ROOT = Path(__file__).parents[3]


def started(home, *args, **options):
    environment = {**os.environ, "XDG_DATA_HOME": str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", "from nexusd.cli.main import main; main()", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def test_ctrl_c_ends_a_watch_well(home, daemon):
    daemon.script["node.subscribe"] = Reply(schema.Subscription(subscription="s", cursor=0), [wrote("hi", 1)])
    with started(home, "dm", "watch") as process:
        assert json.loads(process.stdout.readline())["data"]["content"] == "hi"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "watching direct messages; Ctrl-C ends it\n")


def test_ctrl_c_gives_up_a_call(home, daemon):
    daemon.script["capability.invoke"] = call(piece("token", "x"))
    with started(home, "invoke", BOB, "x", "y", "--stream") as process:
        assert json.loads(process.stdout.readline())["data"] == "x"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (1, "", "")


def test_ctrl_c_gives_up_a_paid_call_and_says_what_was_signed_for(home, daemon):
    signed = replace(waits("i"), state="signed", signed="0.02")
    daemon.script["pay.explain"] = schema.PayExplained(purchase=signed)
    daemon.script["capability.invoke"] = call(piece("token", "x"))
    with started(home, "invoke", BOB, "x", "y", "--stream", "--max-price", "0.10") as process:
        assert json.loads(process.stdout.readline())["data"] == "x"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    error = json.loads(out)["error"]
    payment = error["data"]["payment"]
    assert (process.returncode, error["code"]) == (1, "invoke_cancelled")
    assert [payment[name] for name in ("id", "state", "amount", "asset")] == ["i", "unknown", "0.02", "USDC"]
    assert err.startswith("nexus: given up; 0.02 USDC on base is signed for, and charged if it was worked for")
    assert "`nexus pay explain i`" in err


def test_ctrl_c_tells_programs_what_was_signed_for_where_nothing_came_yet(home, daemon):
    daemon.script["pay.explain"] = schema.PayExplained(purchase=replace(waits("i"), state="signed", signed="0.02"))
    daemon.script["capability.invoke"] = call()
    with started(home, "invoke", BOB, "x", "y", "--json", "--max-price", "0.10") as process:
        daemon.wait_for("pay.explain")  # the call is under way
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    error = json.loads(out)["error"]
    assert (process.returncode, err, error["code"]) == (1, "", "invoke_cancelled")
    assert (error["data"]["payment"]["id"], error["data"]["payment"]["amount"]) == ("i", "0.02")


@pytest.mark.parametrize("lines", [0, 1])
def test_a_reader_that_went_away_is_quiet(home, daemon, lines):
    events = [said("x" * 1000, cursor) for cursor in range(1, 400)]
    daemon.script = {
        "room.members": schema.RoomMembers(members=[]),
        "node.subscribe": Reply(schema.Subscription(subscription="s", cursor=0), events),
    }
    with started(home, "room", "watch", "general") as process:
        for _ in range(lines):
            process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == "watching general; Ctrl-C ends it\n"

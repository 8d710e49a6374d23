"""Commands that misbehave while the daemon serves them, and providers at the socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.harness.daemon import Daemon, Home
from tests.harness.mallory import Client, unharmed
from tests.harness.process import poll

Serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def serving(alice: Daemon, tmp_path: Path) -> Serve:
    """Serve a Python program as `wild`; its processes carry the path of its file on their command line."""

    @contextmanager
    def serve(program: str, **options: object) -> Iterator[str]:
        script = tmp_path / "wild.py"
        script.write_text(program, encoding="utf-8")
        command = {"argv": ["python3", str(script)], "cwd": "/", "jsonl": bool(options.pop("jsonl", False))}
        alice.rpc("capability.serve", name="wild", command=command, **options)
        try:
            yield str(script)
        finally:
            alice.rpc("capability.unregister", name="wild")
            poll(lambda: not alive(str(script)), "no process of the command's left")

    return serve


def alive(word: str) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE and word in (process.info["cmdline"] or [])
    ]


FORKS = """
import os, sys, time, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(50):
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)
"""


def test_fifty_children_that_ignore_term_die_with_the_call(alice: Daemon, bob: Daemon, serving: Serve) -> None:
    with unharmed(alice), serving(FORKS + "time.sleep(600)\n"):
        error = bob.cli_error("invoke", alice.peer_id, "wild", "x", "--max-duration", "2")
        assert error["code"] == "timeout"


def test_children_that_outlive_a_command_which_ends_well(alice: Daemon, bob: Daemon, serving: Serve) -> None:
    with unharmed(alice), serving(FORKS + "os.close(1); os.close(2)\n"):
        bob.cli_error("invoke", alice.peer_id, "wild", "x", "--max-duration", "3")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("where", ["stdout", "stderr"])
def test_a_hundred_megabytes(alice: Daemon, bob: Daemon, serving: Serve, where: str, stream: bool) -> None:
    flags = ["--stream"] if stream else []
    program = f"import sys\nfor _ in range(1600): sys.{where}.write('x' * 65536)\nsys.exit(3)\n"
    with unharmed(alice), unharmed(bob), serving(program):
        done = bob.home.run(bob.argv("invoke", alice.peer_id, "wild", "x", *flags), timeout=40)
    assert done.returncode == 1
    wanted = "over the 1048576" if where == "stdout" else "exit status 3"
    assert wanted in done.stderr, done.stderr[-500:]


@pytest.mark.parametrize(
    ("program", "jsonl", "words"),
    [
        ("import os, time\nos.close(1)\ntime.sleep(600)\n", False, ""),
        ("import os\nos.close(0)\nos.close(2)\nprint('fine', flush=True)\n", False, "fine"),
        ("import os\nos.write(1, b'\\xff\\xfe')\n", False, "UTF-8"),
        ("print('[' * 10000)\n", True, "deep"),
        ("print('NaN')\n", True, "JSON"),
        ("print('x' * 2_000_000)\n", True, "1048576"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", False, "SIGKILL"),
        ("raise SystemExit(9)\n", False, "9"),
        ('print(\'{"event":"\' + "x" * 100 + \'","data":1}\')\n', True, ""),
        ('print(\'{"event":"","data":1}\')\n', True, ""),
    ],
    ids=[
        "closes stdout and stays", "closes stdin and stderr", "not UTF-8", "deep line", "NaN", "line of 2 MB",
        "kills itself", "exit status", "event name of 100", "event without a name",
    ],
)  # fmt: skip
def test_every_end_has_its_word(
    alice: Daemon,
    bob: Daemon,
    serving: Serve,
    program: str,
    jsonl: bool,
    words: str,
) -> None:
    with unharmed(alice), serving(program, jsonl=jsonl):
        done = bob.home.run(bob.argv("invoke", alice.peer_id, "wild", "x", "--max-duration", "2"))
    assert words in done.stdout + done.stderr
    assert "internal_error" not in done.stdout
    assert "the provider failed" not in done.stdout, done.stdout


def test_a_command_that_is_not_there(alice: Daemon, bob: Daemon) -> None:
    alice.rpc("capability.serve", name="absent", command={"argv": ["/nonexistent/x\u0000y"], "cwd": "/"})
    alice.rpc("capability.serve", name="nowhere", command={"argv": ["cat"], "cwd": "/nonexistent"})
    try:
        for name in ("absent", "nowhere"):
            error = bob.cli_error("invoke", alice.peer_id, name, "x")
            assert error["data"]["remoteCode"] == "COMMAND_NOT_FOUND", error
    finally:
        alice.rpc("capability.unregister", name="absent")
        alice.rpc("capability.unregister", name="nowhere")


def test_a_subscriber_that_never_reads_is_bounded(alice: Daemon, bob: Daemon) -> None:
    with unharmed(alice), Client(alice) as deaf:
        deaf.send(deaf.request(1, "node.subscribe", cursor=0))
        for number in range(60):
            bob.rpc("dm.send", peer=alice.peer_id, content=f"{number} " + "x" * 100_000)
    with Client(alice) as again:  # what is stored is there for the next one
        again.send(again.request(1, "node.subscribe", kinds=["dm"], cursor=0))
        seen: set[str] = set()
        while len(seen) < 60:
            message = again.answer()
            if message.get("method") == "node.event" and message["params"]["data"]["content"].endswith("xxx"):
                seen.add(message["params"]["data"]["messageId"])


def test_ten_thousand_rooms(own_home: Home) -> None:
    with Daemon("dave", own_home) as dave:
        with unharmed(dave, mebibytes=64), Client(dave, timeout=60) as client:
            answered = 0
            refused = 0
            for start in range(0, 10_000, 500):
                client.send(b"".join(client.request(n, "room.join", room=f"r{n}") for n in range(start, start + 500)))
                for answer in client.answers(range(start, start + 500)).values():
                    if "error" in answer:
                        assert answer["error"]["data"]["code"] == "busy"
                        refused += 1
                    else:
                        answered += 1
        assert (answered, refused) == (256, 9744)
        dave.kill9()
        dave.start()
        assert len(dave.rpc("room.list")["rooms"]) == 256


@pytest.mark.parametrize("room", ["a/b", "\U0001f600", "x" * 65, "", "..", "a b", "a\nb", "\x1b[2J", "\u202e"])
def test_names_that_are_no_rooms(alice: Daemon, room: str) -> None:
    with Client(alice) as client:
        for method in ("room.join", "room.leave", "room.send", "room.history", "room.members"):
            params = {"room": room} | ({"content": "x"} if method == "room.send" else {})
            assert client.ask(method, **params)["error"]["data"]["code"] == "invalid_name"
    assert room not in alice.rpc("node.status")["rooms"]

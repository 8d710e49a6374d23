"""`nexusd` as a process: foreground and detached, its words and its exit codes, with a daemon inside that does what
the test says (tests/harness/fakeapp.py)."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nexusd.__main__ import main

pytestmark = pytest.mark.slow
"""Each starts processes."""

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bytecode(tmp_path_factory):
    """Compiled modules, kept for the length of this file: dozens of processes are started."""
    return tmp_path_factory.mktemp("bytecode")


@pytest.fixture
def environment(tmp_path, bytecode):
    left_out = ("NEXUS", "PYTHONDONTWRITEBYTECODE")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
    return {
        **kept,
        "XDG_DATA_HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "PYTHONPYCACHEPREFIX": str(bytecode),
    }


@pytest.fixture
def nexusd(environment):
    """Runs `nexusd ARGS` in a scenario to its end."""

    def run(scenario, *args, timeout=30.0, **extra):
        return subprocess.run(
            [sys.executable, "-m", "tests.harness.fakeapp", scenario, *args],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            env={**environment, **extra},
        )

    return run


@pytest.fixture
def started():
    """Pids of detached daemons, ended with the test."""
    pids = []
    yield pids
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_detach_returns_when_it_is_ready(nexusd, tmp_path, started):
    done = nexusd("good", "run", "--loopback", "--detach", "--name", "alice")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    pid = int(re.search(r"nexusd is ready: alice, process (\d+)", done.stderr)[1])
    started.append(pid)
    data_dir = tmp_path / "nexusd" / "alice"
    assert (data_dir / "lock").read_text() == f"{pid}\n"
    assert data_dir.stat().st_mode & 0o777 == 0o700
    assert (data_dir / "nexusd.log").stat().st_mode & 0o777 == 0o600
    assert "nexus --name alice stop" in done.stderr
    # it has no terminal and never gets one: another session, and not that session's leader
    assert os.getsid(pid) not in (os.getsid(0), pid)
    assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
    for descriptor in ("1", "2"):
        assert Path(f"/proc/{pid}/fd/{descriptor}").readlink() == data_dir / "nexusd.log"
    until(lambda: "serving" in (data_dir / "nexusd.log").read_text())
    os.kill(pid, signal.SIGTERM)
    until(lambda: not alive(pid))


def test_programs_learn_of_a_detached_daemon_in_json(nexusd, tmp_path, started):
    done = nexusd("good", "run", "--loopback", "--detach", "--name", "alice", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    data = told["data"]
    started.append(data["pid"])
    assert (told["schemaVersion"], told["ok"], data["name"], data["peerId"]) == (1, True, "alice", "12D3KooWFake")
    data_dir = tmp_path / "nexusd" / "alice"
    assert (data["dataDir"], data["socket"]) == (str(data_dir), str(data_dir / "nexusd.sock"))
    assert (data["log"], bool(data["addresses"])) == (str(data_dir / "nexusd.log"), True)
    again = nexusd("good", "run", "--loopback", "--detach", "--name", "alice", "--json")
    told = json.loads(again.stdout)
    assert (again.returncode, again.stderr, told["ok"]) == (1, "", False)
    assert told["error"]["message"].startswith("A daemon already runs on ")
    wrong = nexusd("good", "run", "--detach", "--json", "--prot", "1")
    assert json.loads(wrong.stdout)["error"]["message"].startswith("nexusd run has no option --prot")


def test_the_waiting_shell_is_not_held_by_the_daemon(environment, started):
    # a pipe that the daemon kept open would keep `$(nexusd run --detach)` waiting for ever
    command = [sys.executable, "-m", "tests.harness.fakeapp", "good", "run", "--loopback", "--detach"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, timeout=20
    )
    assert done.returncode == 0
    started.append(int(re.search(rb"process (\d+)", done.stdout)[1]))


def test_the_daemon_keeps_nothing_else_of_its_callers(environment, started):
    reader, writer = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.harness.fakeapp", "good", "run", "--loopback", "--detach"],
            pass_fds=[writer],
            capture_output=True,
            text=True,
            env=environment,
            timeout=20,
        )
        started.append(int(re.search(r"process (\d+)", done.stderr)[1]))
        os.close(writer)
        os.set_blocking(reader, False)
        assert os.read(reader, 1) == b"", "the end of the pipe: nobody holds the other end"
        assert Path(f"/proc/{started[0]}/cwd").readlink() == Path("/")
    finally:
        os.close(reader)


def test_a_second_one_is_refused(nexusd, started):
    first = nexusd("good", "run", "--loopback", "--detach")
    pid = int(re.search(r"process (\d+)", first.stderr)[1])
    started.append(pid)
    for mode in (["--detach"], []):
        second = nexusd("good", "run", "--loopback", *mode)
        assert second.returncode == 1
        assert re.fullmatch(rf"nexusd: A daemon already runs on \S+, as process {pid}: .*\n", second.stderr)
    assert alive(pid)


@pytest.mark.parametrize("mode", [["--detach"], []])
@pytest.mark.parametrize(
    ("scenario", "sentence"),
    [
        ("host", r"nexusd: Port 4001 is in use: choose another with --port\n"),
        ("oserror", r"nexusd: Permission denied: /data/x\n"),
    ],
)
def test_a_known_failure_is_one_sentence(nexusd, mode, scenario, sentence):
    done = nexusd(scenario, "run", "--loopback", *mode)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(sentence, done.stderr)


@pytest.mark.parametrize("scenario", ["bug", "mixed"])
def test_a_bug_leaves_its_traceback_in_the_log(nexusd, tmp_path, scenario):
    done = nexusd(scenario, "run", "--loopback", "--detach")
    log = tmp_path / "nexusd" / "default" / "nexusd.log"
    assert done.returncode == 1
    assert re.fullmatch(rf"nexusd: The daemon failed \(\w+\): see {log}; please report it\n", done.stderr)
    assert "Traceback" in log.read_text()
    done = nexusd(scenario, "run", "--loopback")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("see the log above; please report it")


def test_a_daemon_that_dies_is_noticed_at_once(nexusd):
    done = nexusd("dies", "run", "--loopback", "--detach")
    assert done.returncode == 1
    assert re.fullmatch(r"nexusd: The daemon ended before it was ready: see \S+nexusd.log\n", done.stderr)


def test_a_daemon_that_is_never_ready_is_stopped(nexusd, tmp_path):
    done = nexusd("hangs", "run", "--loopback", "--detach", NEXUSD_TEST_START_SECONDS="1")
    assert done.returncode == 1
    assert "was not ready within 1 s and was stopped" in done.stderr
    pid = int((tmp_path / "nexusd" / "default" / "lock").read_text())
    until(lambda: not alive(pid))
    assert nexusd("bug", "run", "--loopback", "--detach").returncode == 1


def test_the_foreground_says_when_it_is_ready_and_stops_at_a_signal(environment):
    for number in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.harness.fakeapp", "good", "run", "--loopback", "--log-format", "json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        ) as process:
            assert process.stderr.readline().startswith("nexusd is ready: default, process ")
            process.send_signal(number)
            # not `communicate`: it would miss what `readline` has buffered
            err, out = process.stderr.read(), process.stdout.read()
            assert (process.wait(10), out) == (0, "")
            assert any(json.loads(line)["event"] == "serving" for line in err.splitlines() if line.startswith("{"))


def test_a_signal_before_there_is_anything_to_drain_ends_well(nexusd):
    done = nexusd("early", "run", "--loopback")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_exit_code_is_the_daemons(nexusd):
    assert nexusd("returns", "run", "--loopback").returncode == 3


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["rum"], "nexusd: nexusd has no command 'rum': did you mean `nexusd run`?\n"),
        (["run", "--prot", "1"], "nexusd: nexusd run has no option --prot: did you mean `nexusd run --port`?\n"),
        (
            ["run", "--port", "x"],
            'nexusd: Invalid value for --port: unable to convert "x" into int: see `nexusd run --help`\n',
        ),
        (
            ["run", "--port", "70000"],
            "nexusd: port = 70000 (flag --port): expected a whole number from 0 (choose one) to 65535\n",
        ),
        (
            ["run", "--name", "a/b"],
            "nexusd: name = 'a/b' (flag --name): expected another one: a profile's name is 1 to 64 of",
        ),
        (["run", "--bootstrap", "x"], "nexusd: bootstrap = ['x'] (flag --bootstrap): expected a list of multiaddrs"),
    ],
)
def test_wrong_use_is_one_sentence(monkeypatch, tmp_path, capsys, args, sentence):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(args)
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (1, "")
    assert err.startswith(sentence)
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_open_data_directory_is_refused(nexusd, tmp_path):
    (tmp_path / "mine").mkdir(mode=0o755)
    (tmp_path / "mine" / "thesis.txt").touch()
    for mode in (["--detach"], []):
        done = nexusd("good", "run", "--data-dir", str(tmp_path / "mine"), *mode)
        assert done.returncode == 1
        assert done.stderr.startswith(f"nexusd: {tmp_path}/mine is open to other users: close it with `chmod 700")


def test_openrpc_and_version(capsys):
    def said(*args):
        with pytest.raises(SystemExit) as ended:
            main(args)
        assert ended.value.code == 0
        return capsys.readouterr().out

    assert json.loads(said("openrpc"))["openrpc"].startswith("1.")
    assert said("version") == said("--version")
    assert re.fullmatch(r"nexusd \d+\.\d+\.\d+\n", said("version"))


def test_a_reader_that_went_away_is_no_traceback(environment):
    command = f"{sys.executable} -m tests.harness.fakeapp good openrpc | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, timeout=20)
    assert (done.stdout, done.stderr) == ("{\n", "")

"""Real daemons as processes on loopback, driven by the command line as a user would."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import psutil

from nexusd import paths
from nexusd.client import Nexus
from tests.harness.process import DEADLINE_S, LineProcess, poll

BIN = Path(sys.executable).parent


class CliError(AssertionError):
    """A command that should have worked did not. `error` is the envelope's."""

    def __init__(self, argv: Sequence[str], code: int, stdout: str, stderr: str) -> None:
        super().__init__(f"{' '.join(argv)} exited {code}\n stdout: {stdout[-2000:]}\n stderr: {stderr[-2000:]}")
        self.stdout = stdout


class Home:
    """A host of its own: data home, runtime directory and configuration home, all short enough for Unix sockets. What
    the tester's own environment says of nexusd is kept out."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or Path(tempfile.mkdtemp(prefix="nx-"))
        self._own = directory is None
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("NEXUS")}
        for variable, name in (
            ("XDG_DATA_HOME", "d"),
            ("XDG_RUNTIME_DIR", "r"),
            ("XDG_CONFIG_HOME", "c"),
            ("XDG_STATE_HOME", "s"),
            ("XDG_CACHE_HOME", "k"),
        ):
            place = self.directory / name
            place.mkdir(mode=0o700, exist_ok=True)
            self.env[variable] = str(place)
        self.env["PATH"] = f"{BIN}{os.pathsep}{self.env.get('PATH', '')}"
        self.env["TZ"] = "UTC"

    def data_dir(self, name: str) -> Path:
        return paths.data_dir_of(name, self.env)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        timeout: float = DEADLINE_S,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, its output piped."""
        return subprocess.run(
            argv,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            env={**self.env, **(env or {})},
            timeout=timeout,
            cwd=cwd or self.directory,
        )

    def nexus(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`nexus …` without naming a daemon."""
        return self.run([str(BIN / "nexus"), *args], **options)

    def nexusd(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run([str(BIN / "nexusd"), *args], **options)

    def remove(self) -> None:
        if self._own:
            shutil.rmtree(self.directory, ignore_errors=True)


def data_of(done: subprocess.CompletedProcess[str]) -> Any:
    """The `data` of the envelope. Raises CliError."""
    if done.returncode != 0:
        raise CliError(done.args, done.returncode, done.stdout, done.stderr)
    envelope = json.loads(done.stdout)
    assert envelope["schemaVersion"] == 1, envelope
    assert envelope["ok"] is True, envelope
    return envelope["data"]


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The `error` of the envelope, which agrees with the exit code."""
    assert done.returncode in (1, 2), (done.args, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    envelope = json.loads(done.stdout)
    assert envelope["schemaVersion"] == 1
    assert envelope["ok"] is False, envelope
    error: dict[str, Any] = envelope["error"]
    assert error["exitCode"] == done.returncode
    assert error["code"]
    assert error["message"]
    return error


class Watch(LineProcess):
    """A command that goes on writing JSON Lines: `room watch`, `dm watch`, `events`, `capability serve`."""

    def item(self, wanted: Callable[[Any], Any] = lambda item: True, *, timeout: float = DEADLINE_S) -> Any:
        """The first line that `wanted` accepts, decoded."""

        def accept(line: str) -> Any:
            found = json.loads(line)
            return (found,) if wanted(found) else None

        return self.expect(accept, "a line of JSON", timeout)[0]

    def items(self, number: int, *, timeout: float = DEADLINE_S) -> list[Any]:
        """At least `number` lines, decoded."""
        self.wait_until(lambda: len(self.lines) >= number, f"{number} lines", timeout)
        return [json.loads(line) for line in list(self.lines)]


class Daemon:
    """One daemon. It listens on loopback only and looks for nobody unless flags say so."""

    def __init__(
        self, name: str, home: Home, *flags: str, mdns: bool = False, start: bool = True, through: Sequence[str] = ()
    ) -> None:
        """`through` is a command that runs the daemon, such as one that limits it first."""
        self.name = name
        self._through = through
        self.home = home
        self.flags = ["--loopback", *([] if mdns else ["--no-mdns"]), "--log-format", "json", *flags]
        self.data_dir = home.data_dir(name)
        self.logs: list[Path] = []
        self.expected_errors: list[str] = []
        """Substrings of error lines that a test provokes on purpose."""
        self._watches: list[Watch] = []
        self._process: LineProcess | None = None
        self._status: dict[str, Any] | None = None
        self._client: Nexus | None = None
        if start:
            self.start()

    # --- life ---------------------------------------------------------------------------------------------------
    def start(self, timeout: float = DEADLINE_S) -> None:
        """Returns once the socket answers: it appears last."""
        process = self._spawn()

        def ready() -> bool:
            assert process.popen.poll() is None, f"{self.name} ended while starting\n{process.describe()}"
            return paths.answers(paths.socket_of(self.data_dir))

        try:
            poll(ready, f"{self.name} ready", timeout, every=0.02)
        except BaseException:
            process.kill9()
            self._process = None
            raise

    def _spawn(self) -> LineProcess:
        assert self._process is None, "it runs already"
        log = self.home.directory / f"{self.name}.{len(self.logs)}.log"
        self.logs.append(log)
        argv = [*self._through, str(BIN / "nexusd"), "run", "--name", self.name, *self.flags]
        self._process = LineProcess(argv, log=log, env=self.home.env, cwd=self.home.directory)
        self._status = None
        return self._process

    @property
    def process(self) -> LineProcess:
        assert self._process is not None, f"{self.name} does not run"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.popen.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.popen.poll() is None

    def kill9(self) -> None:
        """The process is gone at once; what it started is cut off with it."""
        self.process.kill9()
        self._process = None

    def kill9_while_starting(self, after: float) -> None:
        """Start it, and kill it after so many seconds, wherever it is by then."""
        process = self._spawn()
        time.sleep(after)
        assert process.popen.poll() is None, f"{self.name} ended while starting\n{process.describe()}"
        self.kill9()

    def stop(self) -> None:
        """SIGTERM. It exits 0, and its log holds no error that was not expected."""
        process = self.process
        process.popen.send_signal(signal.SIGTERM)
        try:
            code = process.wait()
        except AssertionError:
            process.kill9()
            self._process = None
            raise
        self._process = None
        assert code == 0, f"{self.name} exited {code}\n{process.describe()}"
        self.check_log()

    def restart(self) -> None:
        self.stop()
        self.start()

    def check_log(self) -> None:
        """No error, no traceback: in JSON each line says its level."""
        for log in self.logs:
            for line in log.read_text(errors="replace").splitlines():
                if any(expected in line for expected in self.expected_errors):
                    continue
                assert "Traceback" not in line, f"{log}: {line}"
                if line.startswith("{"):
                    level = json.loads(line).get("level")
                    assert level not in ("error", "critical"), f"{log}: {line}"

    def log_text(self) -> str:
        return "".join(log.read_text(errors="replace") for log in self.logs)

    def rss(self) -> int:
        """Resident memory, in bytes."""
        memory: int = psutil.Process(self.pid).memory_info().rss
        return memory

    def cpu_seconds(self) -> float:
        """Processor time that it has had."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    # --- command line ---------------------------------------------------------------------------------------------
    def argv(self, *args: str) -> list[str]:
        return [str(BIN / "nexus"), "--name", self.name, *args]

    def cli(self, *args: str, stdin: str | None = None, timeout: float = DEADLINE_S) -> Any:
        """Run `nexus …` and return the data of its envelope. Raises CliError."""
        return data_of(self.home.run(self.argv(*args), stdin=stdin, timeout=timeout))

    def cli_lines(self, *args: str, stdin: str | None = None, timeout: float = DEADLINE_S) -> list[Any]:
        """Run a streaming command to its end and return its JSON Lines."""
        done = self.home.run(self.argv(*args), stdin=stdin, timeout=timeout)
        if done.returncode != 0:
            raise CliError(done.args, done.returncode, done.stdout, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def cli_error(self, *args: str, stdin: str | None = None, timeout: float = DEADLINE_S) -> dict[str, Any]:
        """Run `nexus …`, which must fail, and return the error of its envelope."""
        return error_of(self.home.run(self.argv(*args), stdin=stdin, timeout=timeout))

    def spawn_cli(self, *args: str) -> Watch:
        """Start a command that goes on; `close` ends those still running."""
        log = self.home.directory / f"{self.name}.cli{len(self._watches)}.log"
        watch = Watch(self.argv(*args), log=log, env=self.home.env, cwd=self.home.directory)
        self._watches.append(watch)
        return watch

    def rpc(self, method: str, **params: Any) -> Any:
        """Ask by the SDK, in this process: for what a test looks at again and again. Same data as `cli`."""
        if self._client is None:
            self._client = Nexus.connect(data_dir=self.data_dir, timeout=DEADLINE_S)
        return msgspec.to_builtins(self._client.call(method, params))

    # --- state ------------------------------------------------------------------------------------------------------
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.rpc("node.status")
        return found

    @property
    def peer_id(self) -> str:
        self._status = self._status or self.status()
        peer: str = self._status["peerId"]
        return peer

    @property
    def addresses(self) -> list[str]:
        self._status = self._status or self.status()
        found: list[str] = self._status["addresses"]
        return found

    @property
    def tcp(self) -> str:
        return next(address for address in self.addresses if "/ws" not in address)

    @property
    def websocket(self) -> str:
        return next(address for address in self.addresses if "/ws" in address)

    def connected(self) -> set[str]:
        """Ids of the connected peers."""
        return {peer["peerId"] for peer in self.rpc("peers.list", connected=True)["peers"]}

    def close(self) -> None:
        """End everything. The daemon must end as promised."""
        self._end_commands()
        self._hang_up()
        if self._process is None:
            return
        if not self.running:
            process, self._process = self._process, None
            code = process.wait()
            raise AssertionError(f"{self.name} ended by itself, code {code}\n{process.describe()}")
        self.stop()

    def _end_commands(self) -> None:
        for watch in self._watches:
            watch.kill9()
        self._watches.clear()

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._hang_up()
            if self._process is not None:
                error.add_note(self._process.describe(60))
                self._process.kill9()
                self._process = None
            self._end_commands()
            return
        self.close()


def connect(dialer: Daemon, listener: Daemon) -> None:
    """Connect two daemons by hand, and see it from both sides."""
    dialer.cli("connect", listener.tcp)
    poll(lambda: dialer.peer_id in listener.connected(), "the connection, seen from the other side")


def meet(room: str, *members: Daemon) -> None:
    """All join a room and every one sees at least one other in it, so that what is said there arrives."""
    for member in members:
        member.cli("room", "join", room)
    for member in members:
        poll(lambda m=member: others_in(m, room), f"{member.name} sees somebody in {room}")


def others_in(member: Daemon, room: str) -> list[Any]:
    me = member.peer_id
    found = member.rpc("room.members", room=room)["members"]
    return [m for m in found if m["agent"] != me and m["status"] != "offline"]


def each_log(daemons: Sequence[Daemon]) -> Iterator[str]:
    """Logs of all, for the report of a failed test."""
    for daemon in daemons:
        yield f"--- {daemon.name}\n{daemon.log_text()[-4000:]}"

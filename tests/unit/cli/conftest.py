"""The command line in this process, on a daemon that answers what the test says."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nexusd.cli import main
from tests.harness.scripted import ScriptedDaemon


class Text(io.TextIOWrapper):
    """A stream as the process has it, that is a terminal if the test says so."""

    def __init__(self, terminal: bool, data: bytes = b"") -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8", write_through=True, newline="")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]  # it is the BytesIO given above


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def data(self) -> Any:
        assert self.code == 0, self
        (envelope,) = self.lines
        assert list(envelope) == ["schemaVersion", "ok", "data"]
        assert (envelope["schemaVersion"], envelope["ok"]) == (1, True)
        return envelope["data"]

    @property
    def error(self) -> Any:
        envelope = self.lines[-1]
        assert list(envelope) == ["schemaVersion", "ok", "error"]
        assert (envelope["schemaVersion"], envelope["ok"]) == (1, False)
        assert envelope["error"]["exitCode"] == self.code
        return envelope["error"]


@pytest.fixture
def home(monkeypatch):
    """A data home whose path is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="nx", dir="/tmp"))
    for variable in ("NAME", "DATA_DIR", "CONFIG"):
        monkeypatch.delenv(f"NEXUS_{variable}", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(path))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("COLUMNS", "80")
    time.tzset()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def make_daemon(home):
    """Starts scripted daemons, by profile."""
    daemons = []

    def make(name: str = "alice") -> ScriptedDaemon:
        daemon = ScriptedDaemon(home / "nexusd" / name / "nexusd.sock")
        daemons.append(daemon)
        return daemon

    yield make
    for daemon in daemons:
        daemon.close()


@pytest.fixture
def daemon(make_daemon):
    return make_daemon()


@pytest.fixture
def nexus(home):
    """Runs a command line. `tty`: whether stdout is a terminal; `stdin`: what is piped in, None for a terminal."""

    def run(*args: str, tty: bool = False, stdin: bytes | None = None) -> Ran:
        out, err = Text(tty), Text(True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            patch.setattr(sys, "stdin", Text(stdin is None, stdin or b""))
            code = main.run(args)
        return Ran(code, out.text(), err.text())

    return run

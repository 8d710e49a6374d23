"""Which daemon a client talks to, and what it says when there is none."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nexusd.client import Nexus, NexusError
from nexusd.client.finding import find_socket

Environment = dict[str, str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    return {"XDG_DATA_HOME": str(home), "HOME": str(home)}


@pytest.fixture
def daemons(home: Path) -> Iterator[object]:
    """A function that lets daemons of the given names listen."""
    with ExitStack() as stack:

        def listen(*names: str) -> None:
            for name in names:
                directory = home / "nexusd" / name
                directory.mkdir(parents=True, mode=0o700)
                listener = stack.enter_context(socket.socket(socket.AF_UNIX))
                listener.bind(os.fspath(directory / "nexusd.sock"))
                listener.listen()

        yield listen


def socket_of(home: Path, name: str) -> Path:
    return home / "nexusd" / name / "nexusd.sock"


def refused(code: str, **options: object) -> NexusError:
    with pytest.raises(NexusError) as caught:
        find_socket(**options)  # type: ignore[arg-type]  # names and values as the test gives them
    assert caught.value.code == code
    return caught.value


def test_the_only_one_that_runs_needs_no_name(home: Path, environment: Environment, daemons: object) -> None:
    daemons("bob")  # type: ignore[operator]  # the fixture's function
    (home / "nexusd" / "stale").mkdir()
    assert find_socket(environment=environment) == socket_of(home, "bob")


def test_without_a_daemon(environment: Environment) -> None:
    error = refused("daemon_unreachable", environment=environment)
    assert error.exit_code == 2
    assert "nexusd run" in error.try_


def test_several_are_listed(environment: Environment, daemons: object) -> None:
    daemons("alice", "bob")  # type: ignore[operator]  # the fixture's function
    error = refused("ambiguous_daemon", environment=environment)
    assert "alice, bob" in error.message
    assert error.data == ["alice", "bob"]
    assert "--name" in error.try_


def test_what_is_said_outweighs_the_environment(home: Path, environment: Environment, tmp_path: Path) -> None:
    both = environment | {"NEXUS_NAME": "alice", "NEXUS_DATA_DIR": str(tmp_path / "d")}
    assert find_socket(environment=both) == tmp_path / "d" / "nexusd.sock"
    assert find_socket(environment=environment | {"NEXUS_NAME": "alice"}) == socket_of(home, "alice")
    assert find_socket("bob", environment=both) == socket_of(home, "bob")
    assert find_socket(data_dir=tmp_path / "e", environment=both) == tmp_path / "e" / "nexusd.sock"
    assert find_socket("bob", tmp_path / "e", environment=both) == tmp_path / "e" / "nexusd.sock"


def test_a_name_that_is_none(environment: Environment) -> None:
    assert "letter" in refused("invalid_name", name="../etc", environment=environment).message


def test_a_pointer_that_does_not_name_a_socket(tmp_path: Path) -> None:
    (tmp_path / "socket").write_text("relative/path\n")
    assert "delete it" in refused("refused", data_dir=tmp_path).message


def test_nobody_answers_and_others_run(home: Path, environment: Environment, daemons: object) -> None:
    daemons("bob")  # type: ignore[operator]  # the fixture's function
    with pytest.raises(NexusError) as caught:
        Nexus.connect("alice")
    assert caught.value.code == "daemon_unreachable"
    assert "running: bob" in caught.value.message
    assert caught.value.try_ == "add --name bob, or start it"


def test_nobody_answers_at_all(environment: Environment) -> None:
    with pytest.raises(NexusError) as caught:
        Nexus.connect("alice")
    assert caught.value.code == "daemon_unreachable"
    assert "alice" in caught.value.message

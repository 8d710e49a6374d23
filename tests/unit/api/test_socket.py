"""The Unix socket: where it may lie, who may connect, and that it goes when the daemon goes."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
import trio

from nexusd.api import socket as api_socket
from nexusd.api.socket import SocketPathError, listening
from tests.harness.door import Door, open_door


def test_only_the_owner_may_open_it_and_it_goes_on_leaving(path: Path) -> None:
    with listening(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_ISSOCK(path.stat().st_mode)
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701])
def test_an_open_directory_is_refused(path: Path, mode: int) -> None:
    path.parent.chmod(mode)
    with pytest.raises(SocketPathError, match="chmod 700"), listening(path):
        pass


def test_a_missing_directory_is_refused(path: Path) -> None:
    with pytest.raises(SocketPathError, match="does not exist"), listening(path.parent / "no" / "nexusd.sock"):
        pass


def test_anothers_directory_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(SocketPathError, match="another user"), listening(path):
        pass


def test_what_a_killed_daemon_left_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(os.fspath(path))
        left.listen()
    assert path.exists()
    with listening(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))


def test_a_socket_that_answers_is_not_replaced(path: Path) -> None:
    with listening(path):
        with pytest.raises(SocketPathError, match="Another daemon"), listening(path):
            pass
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(path))


def test_a_socket_that_does_not_accept_is_not_replaced(path: Path) -> None:
    """Its backlog is full: somebody is behind it."""
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(os.fspath(path))
        busy.listen(0)
        clients = []
        try:
            while True:
                client = socket.socket(socket.AF_UNIX)
                clients.append(client)
                client.setblocking(False)
                client.connect(os.fspath(path))
        except BlockingIOError:
            pass
        try:
            with pytest.raises(SocketPathError), listening(path):
                pass
            assert path.exists()
        finally:
            for client in clients:
                client.close()


def test_a_symbolic_link_is_refused(path: Path) -> None:
    target = path.with_name("target")
    target.write_text("precious")
    path.symlink_to(target)
    with pytest.raises(SocketPathError, match="symbolic link"), listening(path):
        pass
    assert target.read_text() == "precious"


@pytest.mark.parametrize("make", [lambda path: path.write_text("x"), lambda path: path.mkdir()], ids=["file", "folder"])
def test_something_else_in_the_way_is_refused(path: Path, make: object) -> None:
    make(path)  # type: ignore[operator]  # a function, by the line above
    with pytest.raises(SocketPathError, match="in the way"), listening(path):
        pass
    assert path.exists()


def test_a_path_that_is_too_long_says_so(path: Path) -> None:
    directory = path.parent / ("x" * 100)
    directory.mkdir(mode=0o700)
    with pytest.raises(SocketPathError, match="too long"), listening(directory / "nexusd.sock"):
        pass


def test_a_socket_that_was_replaced_meanwhile_is_left_alone(path: Path) -> None:
    with listening(path):
        path.unlink()
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"


async def test_the_kernel_tells_who_connected(door: Door) -> None:
    client = await door.connect()
    assert api_socket.peer_uid(client.stream.socket._sock) == os.geteuid()


async def test_another_user_is_turned_away_with_a_reason(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_socket, "peer_uid", lambda sock: os.geteuid() + 1)
    client = await door.connect()
    refused = await client.hear()
    assert refused["error"]["data"]["code"] == "refused"
    assert refused["id"] is None
    assert await client.hear() is None


async def test_a_platform_that_does_not_tell_lets_nobody_in(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_socket, "peer_uid", lambda sock: None)
    client = await door.connect()
    assert (await client.hear())["error"]["data"]["code"] == "refused"


async def test_connections_are_bounded_and_a_place_comes_free(path: Path) -> None:
    async with open_door(path, connections=2) as door:
        first, second = await door.connect(), await door.connect()
        await first.call("node.status")
        await second.call("node.status")
        third = await door.connect()
        assert (await third.hear())["error"]["data"]["code"] == "busy"
        await first.close()
        with trio.fail_after(5):
            while True:
                again = await door.connect()
                await again.ask("node.status")
                answer = await again.hear()
                if "result" in answer:
                    break
                await trio.sleep(0.005)


async def test_stopping_closes_clients_and_removes_the_socket(door: Door) -> None:
    client = await door.connect()
    await client.call("node.status")
    door.scope.cancel()
    assert await client.hear() is None
    with trio.fail_after(5):
        while door.path.exists():
            await trio.sleep(0.005)


async def test_the_answer_to_shutdown_goes_out_before_the_socket_closes(door: Door) -> None:
    client = await door.connect()

    async def stop() -> None:
        await door.fakes.node.stopped.wait()
        door.scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        assert await client.call("node.shutdown") == {"jsonrpc": "2.0", "id": 1, "result": {}}
        assert await client.hear() is None

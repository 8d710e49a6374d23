"""The asynchronous client's connection: lines whole or not at all, and what a broken daemon looks like."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from nexusd.client import AsyncNexus, NexusError
from nexusd.client.aio.link import Link, Links


@pytest.fixture
def listener(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        yield listener


@pytest.fixture
def pair(listener: socket.socket, path: Path) -> Iterator[tuple[Path, socket.socket]]:
    """The path, and the daemon's end of the first connection made there, once it is made."""
    listener.settimeout(5)
    return path, listener


async def open_pair(pair: tuple[Path, socket.socket]) -> tuple[Link, socket.socket]:
    path, listener = pair
    link = Link.open(path)
    daemon, _ = listener.accept()
    return link, daemon


def read_all(daemon: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := daemon.recv(1 << 16)):
        data += more
    return data


async def test_a_line_that_was_begun_is_finished_though_cancelled(pair: tuple[Path, socket.socket]) -> None:
    link, daemon = await open_pair(pair)
    line = b"x" * 2_000_000 + b"\n"
    with daemon:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.write, line)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                assert await trio.to_thread.run_sync(read_all, daemon, len(line)) == line
        assert link.usable()
        link.close()


async def test_a_line_that_cannot_be_finished_closes_the_connection(
    pair: tuple[Path, socket.socket], autojump_clock: trio.testing.MockClock
) -> None:
    link, daemon = await open_pair(pair)
    with daemon:
        with trio.move_on_after(1):
            await link.write(b"x" * 2_000_000 + b"\n")
        assert not link.usable()
        with pytest.raises(NexusError) as caught:
            await link.read()
        assert caught.value.code == "connection_lost"


async def test_a_line_that_waits_behind_another_is_not_begun(pair: tuple[Path, socket.socket]) -> None:
    link, daemon = await open_pair(pair)
    line = b"x" * 2_000_000 + b"\n"
    with daemon:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.write, line)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0.01):
                await link.write(b"second\n")
            assert await trio.to_thread.run_sync(read_all, daemon, len(line)) == line
        await link.write(b"third\n")
        assert daemon.recv(100) == b"third\n"
        link.close()


async def test_a_reader_finds_a_connection_that_another_task_closed(pair: tuple[Path, socket.socket]) -> None:
    link, daemon = await open_pair(pair)

    async def read() -> None:
        with pytest.raises(NexusError) as caught:
            await link.read()
        assert caught.value.code == "connection_lost"

    with daemon:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            link.close()


async def test_idle_connections_that_the_daemon_left_are_not_used(pair: tuple[Path, socket.socket]) -> None:
    path, listener = pair
    links = Links(path)
    first = links.take()
    daemon, _ = listener.accept()
    links.give_back(first)
    assert links.take() is first
    links.give_back(first)
    daemon.close()
    second = links.take()
    assert second is not first
    listener.accept()[0].close()
    links.close()
    with pytest.raises(NexusError, match="closed"):
        links.take()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"", "connection_lost"),
        (b'{"jsonrpc":"2.0","id":1,"result":{"name":5}}\n', "internal_error"),
        (b"x" * 5_000_000, "connection_lost"),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"odd"}}\n', "-1"),
        (b'garbage\n{"jsonrpc":"2.0","id":7,"result":1}\n', "connection_lost"),
    ],
)
async def test_a_daemon_that_talks_nonsense(pair: tuple[Path, socket.socket], said: bytes, code: str) -> None:
    path, listener = pair

    def talk() -> None:
        listener.accept()[0].close()  # entering the client tries the socket
        daemon, _ = listener.accept()
        with daemon:
            daemon.recv(1000)
            try:
                daemon.sendall(said)
            except OSError:
                return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, talk)
        async with AsyncNexus.connect(socket=path) as nexus:
            await trio.sleep(0.02)
            with pytest.raises(NexusError) as caught:
                await nexus.status()
            assert caught.value.code == code

"""What a stranger may do to a daemon by WebSocket frames, before it has said who it is."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from websockets.frames import BINARY, CLOSE, CONT, PING, TEXT, Frame

from tests.harness.daemon import Daemon
from tests.harness.mallory import unharmed

pytestmark = pytest.mark.usefixtures("watched")

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def masked(opcode, data: bytes = b"", fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


def attack(port: int, wire: bytes, opening: bytes = REQUEST) -> bytes:
    """Open a WebSocket, send, and read until cut. Returns what came back."""
    answers = bytearray()
    # cut while we send, or with something unread, is a reset
    with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(opening)
        if opening is REQUEST:
            answers += connection.recv(4096)
        connection.sendall(wire)
        while data := connection.recv(65_536):
            answers += data
    return bytes(answers)


@contextmanager
def not_by_the_clock(daemon: Daemon) -> Iterator[None]:
    """Whoever is cut inside is not cut because the time for a handshake is over."""
    before = daemon.status()["connections"]["refused"]
    yield
    assert daemon.status()["connections"]["refused"] == before


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        pytest.param(masked(PING) * 10_000, 1008, id="pings"),
        pytest.param(masked(BINARY, b"", fin=False) + masked(CONT, b"", fin=False) * 5000, 1008, id="fragments"),
        pytest.param(masked(BINARY) * 5000, 1008, id="empty messages"),
        pytest.param(masked(TEXT, b"hello"), 1003, id="text"),
        pytest.param(Frame(BINARY, b"bare").serialize(mask=False), 1002, id="not masked"),
        pytest.param(b"\x82\xff" + b"\x7f" + b"\xff" * 7 + bytes(4), 1009, id="too long"),
        pytest.param(masked(CLOSE, b"\x03\xe8"), 1000, id="goodbyes"),
    ],
)
def test_frames_that_nobody_needs(alice: Daemon, wire: bytes, code: int) -> None:
    port = int(alice.websocket.split("/")[4])
    with unharmed(alice, mebibytes=32), not_by_the_clock(alice):
        for _ in range(5):
            answers = attack(port, wire)
            assert answers.startswith(b"HTTP/1.1 101 ")
            if len(wire) < 100:  # else a reset may have overtaken it
                assert code.to_bytes(2, "big") in answers


def test_an_upgrade_that_never_ends(alice: Daemon) -> None:
    port = int(alice.websocket.split("/")[4])
    with not_by_the_clock(alice):
        assert b"101" not in attack(port, b"A: b\r\n" * 10_000, b"GET / HTTP/1.1\r\n")


def test_noise_in_the_place_of_noise_frames(alice: Daemon) -> None:
    port = int(alice.websocket.split("/")[4])
    with unharmed(alice, mebibytes=32):
        for _ in range(5):
            attack(port, masked(BINARY, os.urandom(60_000)) * 10)

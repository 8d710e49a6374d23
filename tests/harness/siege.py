"""Connections that want to keep others out: each kind goes on until it is stopped, and says each second how it fares.

    python -m tests.harness.siege silent 4001 --sources 1000 --at-once 1000

Sources are addresses of 127.0.0.0/8, each in a /24 of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import trio

from tests.harness.process import LineProcess

IP_BIND_ADDRESS_NO_PORT = 24
"""linux/in.h; the socket module has no name for it. Without it a source has 28,000 ports for all its connections."""
HELLO = b"\x13/multistream/1.0.0\n"
NOISE = b"\x07/noise\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def source(number: int) -> str:
    """The address of an attacker."""
    return f"127.{1 + number // 250}.{number % 250}.66"


class Tally:
    """How the attack fares."""

    def __init__(self) -> None:
        self.tried = 0
        self.up = 0
        self.most_up = 0
        self.longest = 0.0

    def line(self) -> str:
        return json.dumps(vars(self))


class Attacker:
    """One connection after another, from one address after another."""

    def __init__(self, port: int, sources: int, tally: Tally, pause: float) -> None:
        self._port = port
        self._sources = itertools.cycle(source(number) for number in range(sources))
        self._tally = tally
        self._pause = pause

    async def run(self, script: Callable[[trio.SocketStream], Awaitable[None]]) -> None:
        while True:
            await self._once(next(self._sources), script)
            await trio.sleep(self._pause)

    async def _once(self, address: str, script: Callable[[trio.SocketStream], Awaitable[None]]) -> None:
        tally = self._tally
        tally.tried += 1
        plain = trio.socket.socket()
        with plain, contextlib.suppress(OSError, trio.BrokenResourceError, trio.TooSlowError):
            plain.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            await plain.bind((address, 0))
            with trio.fail_after(5):
                await plain.connect(("127.0.0.1", self._port))
            began = trio.current_time()
            tally.up += 1
            tally.most_up = max(tally.most_up, tally.up)
            try:
                await script(trio.SocketStream(plain))
            finally:
                tally.up -= 1
                tally.longest = max(tally.longest, trio.current_time() - began)


# --- what they say ----------------------------------------------------------------------------------------------------
async def until_cut(stream: trio.SocketStream) -> None:
    """Read whatever comes, to the end."""
    while await stream.receive_some(65_536):
        pass


async def silent(stream: trio.SocketStream) -> None:
    """Say nothing."""
    await until_cut(stream)


def trickle(data: bytes) -> Callable[[trio.SocketStream], Awaitable[None]]:
    """One byte a second."""

    async def script(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await until_cut(stream)
                nursery.cancel_scope.cancel()

            nursery.start_soon(read)
            with contextlib.suppress(trio.BrokenResourceError):
                for byte in data:
                    await stream.send_all(bytes([byte]))
                    await trio.sleep(1.0)
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()

    return script


def say(*pieces: bytes) -> Callable[[trio.SocketStream], Awaitable[None]]:
    """So much, and then nothing."""

    async def script(stream: trio.SocketStream) -> None:
        for piece in pieces:
            await stream.send_all(piece)
        await until_cut(stream)

    return script


def authenticated(then: bytes) -> Callable[[trio.SocketStream], Awaitable[None]]:
    """A true handshake, by somebody new each time, then so much under Noise, and then nothing."""
    from libp2p import create_new_x25519_key_pair
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.io.trio import TrioTCPStream
    from libp2p.network.connection.raw_connection import RawConnection
    from libp2p.security.noise.transport import PROTOCOL_ID, Transport
    from libp2p.security.security_multistream import SecurityMultistream

    async def script(stream: trio.SocketStream) -> None:
        noise = Transport(create_new_key_pair(), noise_privkey=create_new_x25519_key_pair().private_key)
        security = SecurityMultistream({PROTOCOL_ID: noise})
        raw: Any = RawConnection(TrioTCPStream(stream), True)
        try:
            secured = await security.secure_outbound(raw, None)  # type: ignore[arg-type] # whoever it is
            if then:
                await secured.write(then)
        except Exception:  # cut on the way, which has many names in stock code
            return
        await until_cut(stream)

    return script


async def come_and_go(stream: trio.SocketStream) -> None:
    """Open and close."""
    await trio.lowlevel.checkpoint()


KINDS: dict[str, Callable[[], Callable[[trio.SocketStream], Awaitable[None]]]] = {
    "silent": lambda: silent,
    "trickled multistream": lambda: trickle(HELLO + NOISE),
    "stop in noise": lambda: say(HELLO + NOISE, b"\x00\x20" + b"x" * 8),
    "stop after noise": lambda: authenticated(b""),
    "stop in muxer": lambda: authenticated(HELLO + b"\x0d/yamux"),
    "stay": lambda: authenticated(HELLO + b"\x0d/yamux/1.0.0\n"),
    "trickled upgrade": lambda: trickle(UPGRADE),
    "come and go": lambda: come_and_go,
}


async def attack(kind: str, port: int, sources: int, at_once: int, pause: float) -> None:
    """Until cancelled."""
    tally = Tally()
    attacker = Attacker(port, sources, tally, pause)
    script = KINDS[kind]()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(attacker.run, script)
        while True:
            await trio.sleep(1.0)
            sys.stdout.write(tally.line() + "\n")
            sys.stdout.flush()


class Siege:
    """An attack in a process of its own, for the length of a `with`."""

    def __init__(
        self, kind: str, port: int, directory: Path, *, sources: int, at_once: int = 1000, pause: float = 0.1
    ) -> None:
        assert kind in KINDS
        self.sources = [source(number) for number in range(sources)]
        self._process = LineProcess(
            [
                sys.executable, "-m", "tests.harness.siege", kind, str(port), "--sources", str(sources),
                "--at-once", str(at_once), "--pause", str(pause),
            ],
            log=directory / "siege.log",
        )  # fmt: skip
        self.began = time.monotonic()

    def tally(self) -> dict[str, Any]:
        """How it fares by now."""
        self._process.wait_until(lambda: self._process.lines, "a line of the siege")
        found: dict[str, Any] = json.loads(self._process.lines[-1])
        return found

    def __enter__(self) -> Self:
        try:
            self.tally()
        except BaseException:
            self._process.kill9()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        ended = self._process.popen.poll()
        self._process.kill9()
        assert ended is None, f"the siege ended by itself\n{self._process.describe()}"


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("port", type=int)
    parser.add_argument("--sources", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=1000)
    parser.add_argument("--pause", type=float, default=0.1)
    given = parser.parse_args()
    trio.run(attack, given.kind, given.port, given.sources, given.at_once, given.pause)


if __name__ == "__main__":
    main()

"""Two daemons on loopback, connected, and the SDK clients that make them work."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from nexusd.client import Nexus
from nexusd_protocols.rpc.schema import SubscribeParams
from tests.harness.daemon import Daemon, Home, connect, meet
from tests.harness.process import LineProcess


class DaemonPair:
    """`a` drives (sends, calls), `b` serves."""

    def __init__(self) -> None:
        self.home = Home()
        self.daemons: list[Daemon] = []
        try:
            for name in ("a", "b"):
                self.daemons.append(Daemon(name, self.home, "--log-level", "warning"))
            connect(self.a, self.b)
            meet("bench", self.a, self.b)
        except BaseException:
            self.close()
            raise

    @property
    def a(self) -> Daemon:
        return self.daemons[0]

    @property
    def b(self) -> Daemon:
        return self.daemons[1]

    def client(self, daemon: Daemon) -> Nexus:
        return Nexus.connect(data_dir=daemon.data_dir, timeout=60)

    def newest(self, nexus: Nexus) -> int:
        """The cursor of now: a subscription behind it misses nothing from here on."""
        cursor: int = nexus.call("node.subscribe", SubscribeParams(kinds=["room"])).cursor
        return cursor

    def in_parallel(self, count: int, at_once: int, one: Callable[[Nexus], None]) -> float:
        """Do `one` `count` times at daemon a, from `at_once` threads with a client each. Returns the seconds."""
        left = count
        lock = threading.Lock()
        errors: list[BaseException] = []

        def worker(nexus: Nexus) -> None:
            nonlocal left
            try:
                while True:
                    with lock:
                        if left == 0:
                            return
                        left -= 1
                    one(nexus)
            except BaseException as error:
                errors.append(error)

        clients = [self.client(self.a) for _ in range(at_once)]
        threads = [threading.Thread(target=worker, args=(nexus,)) for nexus in clients]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed = time.perf_counter() - began
        for nexus in clients:
            nexus.close()
        if errors:
            raise errors[0]
        return elapsed

    @contextmanager
    def provider(self) -> Iterator[None]:
        """A program that serves `echo` and `stream` at daemon b, in a process of its own."""
        argv = [sys.executable, "-m", "bench.provider", str(self.b.data_dir)]
        root = Path(__file__).resolve().parents[1]
        program = LineProcess(argv, log=self.home.directory / "provider.log", env=self.home.env, cwd=root)
        try:
            program.expect(lambda line: line == "ready", "the provider is ready")
            yield
        finally:
            program.kill9()

    def close(self) -> None:
        try:
            for daemon in self.daemons:
                daemon.close()
        finally:
            for daemon in self.daemons:
                if daemon.running:
                    daemon.kill9()
            self.home.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

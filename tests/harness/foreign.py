"""Peers of other implementations as child processes, commanded by JSON Lines (tests/interop/peer.mjs, interop/go)."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import trio

from tests.harness.process import DEADLINE_S, LineProcess


class ForeignError(AssertionError):
    """The peer answered a command with an error."""


class ForeignPeer:
    """A peer and its commands: `peer.call("join", room="general")`. Events that came are in `events`.

    `nodes` are all that the process runs, `node=1` in a command means the second of them. Everything but `ask`
    and `hear` blocks.
    """

    def __init__(self, name: str, argv: Sequence[str], *, log: Path, cwd: Path) -> None:
        self.name = name
        self.events: list[dict[str, Any]] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self._ids = itertools.count(1)
        self._read = 0
        self._write_lock = threading.Lock()
        self.process = LineProcess(argv, log=log, cwd=cwd)
        try:
            ready = self.event("ready")
        except BaseException:
            self.process.kill9()
            raise
        self.peer_id: str = ready["peerId"]
        self.addresses: list[str] = ready["addrs"]
        self.nodes: list[dict[str, Any]] = ready.get("nodes", [ready])

    @property
    def tcp(self) -> str:
        return next(address for address in self.addresses if "/ws" not in address)

    @property
    def websocket(self) -> str:
        return next(address for address in self.addresses if "/ws" in address)

    def _take(self) -> None:
        # runs under the process' condition: lines are looked at once, by whoever waits
        while self._read < len(self.process.lines):
            message = json.loads(self.process.lines[self._read])
            self._read += 1
            if "event" in message:
                self.events.append(message)
            else:
                self._answers[message["id"]] = message

    def start(self, cmd: str, /, **options: Any) -> int:
        """Send a command without waiting for its answer; `finish` takes it."""
        number = next(self._ids)
        with self._write_lock:
            self.process.write(json.dumps({"id": number, "cmd": cmd, **options}))
        return number

    def finish(self, number: int, timeout: float = DEADLINE_S) -> dict[str, Any]:
        """The answer to `start`. Raises ForeignError if the peer says it failed."""

        def look() -> Any:
            self._take()
            return self._answers.pop(number, None)

        answer = self.process.wait_until(look, f"{self.name}: answer to command {number}", timeout)
        if not answer["ok"]:
            raise ForeignError(f"{self.name}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def call(self, cmd: str, /, timeout: float = DEADLINE_S, **options: Any) -> dict[str, Any]:
        """Carry out a command."""
        return self.finish(self.start(cmd, **options), timeout)

    async def ask(self, cmd: str, /, timeout: float = DEADLINE_S, **options: Any) -> dict[str, Any]:
        """`call` for a test that runs a node of ours itself: the loop goes on meanwhile."""
        return await trio.to_thread.run_sync(partial(self.call, cmd, timeout, **options), abandon_on_cancel=True)

    def mark(self) -> int:
        """How many events came so far: give it to `event` or `count` as `since`."""
        with self.process._changed:
            self._take()
            return len(self.events)

    def event(
        self,
        kind: str,
        wanted: Callable[[dict[str, Any]], Any] = lambda event: True,
        *,
        since: int = 0,
        timeout: float = DEADLINE_S,
    ) -> dict[str, Any]:
        """The first event of a kind that `wanted` accepts."""

        def look() -> Any:
            self._take()
            return next((event for event in self.events[since:] if event["event"] == kind and wanted(event)), None)

        found: dict[str, Any] = self.process.wait_until(look, f"{self.name}: event {kind}", timeout)
        return found

    async def hear(
        self,
        kind: str,
        wanted: Callable[[dict[str, Any]], Any] = lambda event: True,
        *,
        since: int = 0,
        timeout: float = DEADLINE_S,
    ) -> dict[str, Any]:
        """`event` for a test that runs a node of ours itself."""
        look = partial(self.event, kind, wanted, since=since, timeout=timeout)
        return await trio.to_thread.run_sync(look, abandon_on_cancel=True)

    def all_events(self, kind: str, *, since: int = 0) -> list[dict[str, Any]]:
        with self.process._changed:
            self._take()
            return [event for event in self.events[since:] if event["event"] == kind]

    def wait_events(
        self,
        kind: str,
        number: int,
        wanted: Callable[[dict[str, Any]], Any] = lambda event: True,
        *,
        since: int = 0,
        timeout: float = DEADLINE_S,
    ) -> list[dict[str, Any]]:
        """At least `number` such events."""

        def look() -> Any:
            self._take()
            found = [event for event in self.events[since:] if event["event"] == kind and wanted(event)]
            return found if len(found) >= number else None

        found: list[dict[str, Any]] = self.process.wait_until(look, f"{self.name}: {number} events {kind}", timeout)
        return found

    def stop(self) -> None:
        """Ask it to leave; a peer that does not is a failure of ours only if it never started."""
        if self.process.popen.poll() is None:
            with contextlib.suppress(BrokenPipeError, ValueError):
                self.process.write(json.dumps({"cmd": "stop"}))
            try:
                self.process.wait(5)
            except AssertionError:
                self.process.kill9()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

"""Programs as providers and callers, by the SDK, across two daemons."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from nexusd.client import CallError, Nexus, NexusError
from nexusd.client.serving import Call
from nexusd_protocols.rpc.schema import PriceSpec
from tests.harness.daemon import Daemon


@contextmanager
def served(daemon: Daemon, name: str, handler: Callable[[Call], Any], **options: Any) -> Iterator[None]:
    """A thread that serves a capability as long as the block runs."""
    nexus = Nexus.connect(data_dir=daemon.data_dir)
    ready = threading.Event()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            nexus.serve(name, handler, ready=ready.set, **options)
        except BaseException as error:
            errors.append(error)
            ready.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield
    finally:
        nexus.close()
        thread.join(20)
        assert not thread.is_alive()
        assert not errors, errors


@pytest.fixture
def caller(alice: Daemon) -> Iterator[Nexus]:
    with Nexus.connect(data_dir=alice.data_dir, timeout=30) as nexus:
        yield nexus


def test_a_value_comes_back(caller: Nexus, bob: Daemon) -> None:
    with served(bob, "double", lambda call: call.value()["n"] * 2):
        assert caller.invoke(bob.peer_id, "double", {"n": 21}) == 42


def test_pieces_go_in_and_come_out_one_by_one(caller: Nexus, bob: Daemon) -> None:
    turn = threading.Semaphore(0)

    def pieces() -> Iterator[str]:
        for n in range(5):
            turn.acquire()
            yield f"piece {n}"

    def echo(call: Call) -> Iterator[str]:
        for piece in call.pieces():
            yield piece.upper()

    with served(bob, "echo", echo):
        turn.release()
        got = []
        with caller.stream(bob.peer_id, "echo", pieces=pieces()) as call:
            for event in call:
                # the next piece goes out only now: an answer to the last one is here before it
                got.append(event.data)
                turn.release()
        assert got == [f"PIECE {n}" for n in range(5)]


def test_a_handlers_refusal_reaches_the_caller(caller: Nexus, bob: Daemon) -> None:
    def refuse(call: Call) -> None:
        raise CallError("TOO_EARLY", "come back tomorrow")

    with served(bob, "refuse", refuse), pytest.raises(NexusError, match="come back tomorrow") as error:
        caller.invoke(bob.peer_id, "refuse", "")
    assert error.value.code == "invoke_failed"
    assert error.value.data == {"remoteCode": "TOO_EARLY"}


def test_a_handlers_bug_is_not_shown_to_the_caller(caller: Nexus, bob: Daemon) -> None:
    def broken(call: Call) -> None:
        raise RuntimeError("secret of the provider")

    with served(bob, "broken", broken), pytest.raises(NexusError) as error:
        caller.invoke(bob.peer_id, "broken", "")
    assert "secret" not in str(error.value)


def test_leaving_a_call_cancels_it_at_the_provider(caller: Nexus, bob: Daemon) -> None:
    over = threading.Event()

    def endless(call: Call) -> None:
        try:
            while True:
                call.emit("on and on")
        finally:
            over.set()

    with served(bob, "endless", endless):
        with caller.stream(bob.peer_id, "endless", "", max_output_bytes=1 << 30) as call:
            assert next(call).data == "on and on"
        assert over.wait(20)


def test_many_calls_at_once(caller: Nexus, bob: Daemon) -> None:
    with served(bob, "square", lambda call: int(call.value()) ** 2, max_concurrent=32):
        results: dict[int, Any] = {}

        def call(n: int) -> None:
            results[n] = caller.invoke(bob.peer_id, "square", str(n))

        threads = [threading.Thread(target=call, args=(n,)) for n in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert results == {n: n * n for n in range(32)}


def test_a_program_sells(caller: Nexus, bob: Daemon) -> None:
    with served(bob, "priced", lambda call: call.value(), prices=[PriceSpec(amount="0")]):
        (row,) = [row for row in bob.rpc("capability.list")["capabilities"] if row["name"] == "priced"]
        assert [price["amount"] for price in row["prices"]] == ["0"]
        assert caller.invoke(bob.peer_id, "priced", "hello") == "hello"

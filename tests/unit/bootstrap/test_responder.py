"""What is asked of zeroconf is done in turn, and closing is the last."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from nexusd_bootstrap import responder
from nexusd_bootstrap.responder import Responder


class FakeZeroconf:
    """Writes down what is asked of it. A registration goes on until it is told to go."""

    def __init__(self, *, interfaces):
        self.calls = []
        self.begun, self.go = threading.Event(), threading.Event()

    def add_listener(self, listener, question): ...

    def register_service(self, info, *, cooperating_responders):
        self.begun.set()
        assert self.go.wait(60)
        self.calls.append("register")

    def update_service(self, info):
        self.calls.append("update")

    def update_interfaces(self):
        self.calls.append("rescan")

    def close(self):
        self.calls.append("close")


@pytest.fixture
async def opened(monkeypatch):
    monkeypatch.setattr(responder, "Zeroconf", FakeZeroconf)
    found = Responder(["127.0.0.1"])
    await found.open(None)
    return found


async def test_goodbye_comes_behind_a_registration_that_nobody_waits_for(opened):
    zeroconf = opened._zeroconf
    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened.register, None)
        await trio.to_thread.run_sync(zeroconf.begun.wait)
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened.close)
        await trio.testing.wait_all_tasks_blocked()
        assert zeroconf.calls == []
        zeroconf.go.set()
    assert zeroconf.calls == ["register", "close"]


async def test_what_comes_behind_the_end_is_left(opened):
    """A thread may begin long after it was asked for."""
    zeroconf = opened._zeroconf
    zeroconf.go.set()
    await opened.close()
    await opened.register(None)
    await opened.update(None)
    await opened.rescan()
    assert zeroconf.calls == ["close"]


async def test_what_was_closed_first_never_opens(monkeypatch):
    made = []
    monkeypatch.setattr(responder, "Zeroconf", lambda **_: made.append(1))
    late = Responder(["127.0.0.1"])
    await late.close()
    await late.open(None)
    assert made == []

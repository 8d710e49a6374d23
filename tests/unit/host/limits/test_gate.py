"""The gate cuts what the table says, keeps time, and tells the log."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.lowlevel
from structlog.testing import capture_logs

from nexusd.host.limits.figures import Figures
from nexusd.host.limits.gate import Gate, Pass, RefusedError
from tests.harness.nodes import signer

ALICE, BOB, CAROL = (signer(name).peer_id for name in ("alice", "bob", "carol"))
FIGURES = replace(Figures.scaled(4, 3), reserved=1, transit=2)


@pytest.fixture
async def gate(autojump_clock) -> Gate:
    return Gate(FIGURES, lambda _peer: 0.0)


@pytest.fixture
def log():
    with capture_logs() as lines:
        yield lines


def told(log) -> list[tuple[str, str]]:
    return [(line["address"], line["reason"]) for line in log if line["event"] == "connection_refused"]


async def served(pass_: Pass, *, speaks: bool = False) -> float:
    """Serve a connection that stays as it is. Returns how long it could."""
    began = trio.current_time()
    if speaks:
        pass_.spoke()
    with pass_.scope:
        await trio.sleep(60)
    pass_.close()
    return trio.current_time() - began


async def test_who_is_silent_has_two_seconds(gate, log, autojump_clock):
    assert await served(gate.accept("198.51.100.1")) == pytest.approx(2.0)
    assert told(log) == [("198.51.100.1", "silent")]
    assert gate.usage().in_transit == 0


async def test_who_speaks_has_three_from_the_beginning(gate, log, autojump_clock):
    pass_ = gate.accept("198.51.100.1")
    await trio.sleep(1.5)
    assert await served(pass_, speaks=True) == pytest.approx(1.5)
    assert told(log) == [("198.51.100.1", "handshake_too_slow")]


async def test_speaking_on_buys_no_time(gate, autojump_clock):
    pass_ = gate.accept("198.51.100.1")
    began = trio.current_time()
    with pass_.scope:
        while True:
            pass_.spoke()
            await trio.sleep(0.1)
    assert trio.current_time() - began == pytest.approx(3.0)


async def test_an_open_connection_has_time_without_end(gate, log, autojump_clock):
    pass_ = gate.accept("198.51.100.1")
    pass_.spoke()
    pass_.authenticated(ALICE)
    pass_.enter(ALICE)
    assert await served(pass_) == pytest.approx(60.0)
    assert told(log) == []
    assert (gate.usage().open, gate.usage().refused) == (0, 0)


async def test_whoever_makes_room_is_cut_and_named_once(gate, log, autojump_clock):
    async with trio.open_nursery() as nursery:
        first = gate.accept("10.0.0.1")
        nursery.start_soon(served, first)
        await trio.sleep(0.1)
        for n in (2, 3):
            nursery.start_soon(served, gate.accept(f"10.0.{n}.1"))
        await trio.lowlevel.checkpoint()
        assert first.scope.cancel_called
        assert told(log) == [("10.0.0.1", "evicted_in_transit")]
        nursery.cancel_scope.cancel()


async def test_one_with_bytes_on_the_way_makes_no_room(gate, autojump_clock):
    first = gate.accept("10.0.0.1", lambda: True)
    second = gate.accept("10.0.1.1", lambda: False)
    gate.accept("10.0.2.1")
    assert (first.scope.cancel_called, second.scope.cancel_called) == (False, True)


async def test_an_address_is_turned_away_and_named_once_a_second(gate, log, autojump_clock):
    gate = Gate(Figures(), lambda _peer: 0.0)
    for _ in range(8):
        assert gate.accept("198.51.100.1") is not None
    for _ in range(5):
        assert gate.accept("198.51.100.1") is None
    assert told(log) == [("198.51.100.1", "too_many_from_address")]
    assert gate.usage().refused == 5


async def enter(gate: Gate, number: int, peer: str) -> Pass:
    pass_ = gate.accept(f"10.1.{number}.1")
    pass_.spoke()
    pass_.enter(peer)
    return pass_


async def test_a_known_peer_finds_a_place_that_strangers_do_not(gate, log, autojump_clock):
    gate.set_known(lambda peer: peer == ALICE)
    strangers = [await enter(gate, n, f"stranger{n}") for n in range(2)]
    third = await enter(gate, 2, "stranger2")
    assert [pass_.scope.cancel_called for pass_ in strangers] == [False, True]
    assert told(log) == [("10.1.1.1", "evicted")]
    assert log[0]["peer"] == "stranger1"
    known = await enter(gate, 3, ALICE)
    usage = gate.usage()
    assert (usage.open, usage.most, usage.inbound, usage.most_inbound) == (3, 4, 3, 3)
    assert not known.scope.cancel_called
    assert not third.scope.cancel_called


async def test_penalties_and_streams_speak_for_and_against(gate, autojump_clock):
    points = {"stranger0": 30.0}
    gate = Gate(FIGURES, lambda peer: points.get(peer, 0.0))
    strangers = [await enter(gate, n, f"stranger{n}") for n in range(2)]
    await enter(gate, 3, "stranger3")
    assert strangers[0].scope.cancel_called
    assert not strangers[1].scope.cancel_called


async def test_no_place_for_what_was_dialled(gate, autojump_clock):
    gate.set_known(lambda _peer: True)
    cut = []
    for n in range(4):
        gate.check(f"peer{n}", "/ip4/10.0.0.1/tcp/1")
        gate.join(f"peer{n}", "/ip4/10.0.0.1/tcp/1", lambda: 0, lambda: cut.append(1))
    with pytest.raises(RefusedError, match="All 4 connections are in use"):
        gate.check(BOB, "/dns4/host.example/tcp/1")
    with pytest.raises(RefusedError):
        gate.join(BOB, "", lambda: 0, lambda: None)
    assert cut == []


async def test_a_stranger_that_we_dialled_makes_room_for_a_known_peer(gate, log, autojump_clock):
    gate.set_known(lambda peer: peer in (ALICE, "friend0", "friend1"))
    cut: list[str] = []
    for peer in ("friend0", "friend1", BOB, CAROL):
        gate.join(peer, "/ip4/10.0.0.1/tcp/1", lambda: 0, lambda peer=peer: cut.append(peer))
    await enter(gate, 0, ALICE)
    assert cut == [CAROL]
    assert told(log) == [("10.0.0.1", "evicted")]


async def test_who_made_room_comes_in_no_more(gate, autojump_clock):
    first = gate.accept("10.0.0.1")
    for n in (1, 2):
        gate.accept(f"10.0.{n}.1")
    with pytest.raises(RefusedError):
        first.enter(ALICE)
    first.close()
    first.close()
    assert (gate.usage().open, gate.usage().in_transit) == (0, 2)

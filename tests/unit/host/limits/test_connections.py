"""The table never holds more than it may, never loses a place, and never cuts a known peer for a stranger."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nexusd.host.limits.connections import Admitted, Connections, Refused
from nexusd.host.limits.eviction import Connection, Stage, Worth
from nexusd.host.limits.figures import Figures
from nexusd.host.limits.origin import NOWHERE, origin_of

SMALL = Figures(
    connections=8, inbound=6, reserved=2, transit=3, peer_connections=2, address_connections=4,
    network_connections=5, address_burst=6, address_rate=0.5, addresses=4,
)  # fmt: skip


class Judge:
    def __init__(self, *friends: str) -> None:
        self.friends = set(friends)
        self.worths: dict[str, Worth] = {}

    def known(self, peer):
        return peer in self.friends

    def worth(self, connection):
        assert connection.stage is Stage.OPEN
        return self.worths.get(connection.peer, Worth())


def table(figures: Figures = SMALL, *friends: str) -> Connections:
    return Connections(figures, Judge(*friends))


def come(connections: Connections, address: str, peer: str, now: float = 0.0) -> Admitted | Refused:
    """In and through the handshake."""
    accepted = connections.accept(origin_of(address), now)
    assert isinstance(accepted, Admitted), accepted
    return connections.enter(accepted.connection, peer, now)


def many(connections: Connections, count: int, prefix: str = "stranger") -> list[Connection]:
    found = []
    for n in range(count):
        answer = come(connections, f"10.{n}.0.1", f"{prefix}{n}", float(n))
        assert isinstance(answer, Admitted)
        found.append(answer.connection)
    return found


# --- addresses --------------------------------------------------------------------------------------------------------
def test_one_address_at_once():
    connections = table(Figures())
    answers = [connections.accept(origin_of("198.51.100.1"), 0.0) for _ in range(9)]
    assert [type(answer) for answer in answers] == [Admitted] * 8 + [Refused]
    assert answers[8].reason == "too_many_from_address"
    connections.remove(answers[0].connection)
    assert isinstance(connections.accept(origin_of("198.51.100.1"), 0.0), Admitted)


def test_one_address_over_time():
    connections = table(Figures())

    def again(now: float) -> bool:
        answer = connections.accept(origin_of("198.51.100.1"), now)
        if isinstance(answer, Refused):
            assert answer.reason == "too_often_from_address"
            return False
        connections.remove(answer.connection)
        return True

    assert sum(again(0.0) for _ in range(50)) == 16
    assert sum(again(at / 10) for at in range(1, 1011)) == 20  # 0.2 a second


def test_a_56_and_a_48():
    connections = table(replace(Figures(), transit=128))
    for customer in range(8):
        for host in range(8):
            assert isinstance(connections.accept(origin_of(f"2001:db8:1:{customer:x}00::{host}"), 0.0), Admitted)
        assert connections.accept(origin_of(f"2001:db8:1:{customer:x}ff::9"), 0.0).reason in (
            "too_many_from_address", "too_many_from_network",
        )  # fmt: skip
    assert connections.accept(origin_of("2001:db8:1:9900::1"), 0.0) == Refused("too_many_from_network")
    assert isinstance(connections.accept(origin_of("2001:db8:2::1"), 0.0), Admitted)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_loopback_is_exempt_unless_told_otherwise(address):
    free, strict = table(Figures()), table(replace(Figures(), limit_loopback=True))
    for connections, bound in ((free, 32), (strict, 8)):
        for _ in range(40):
            connections.accept(origin_of(address), 0.0)
        assert connections.transit == bound


def test_a_transport_that_knows_no_address():
    connections = table(replace(Figures(), limit_loopback=True))
    for _ in range(32):
        assert isinstance(connections.accept(NOWHERE, 0.0), Admitted)


def test_addresses_without_end_do_not_fill_memory():
    connections = table()
    for n in range(1000):
        connections.accept(origin_of(f"10.{n // 250}.{n % 250}.1"), float(n))
    assert len(connections._rates) == SMALL.addresses
    assert len(connections._customers) <= SMALL.transit


# --- in transit -------------------------------------------------------------------------------------------------------
def test_a_silent_one_makes_room():
    connections = table()
    first, *_ = [connections.accept(origin_of(f"10.{n}.0.1"), float(n)).connection for n in range(3)]
    answer = connections.accept(origin_of("10.9.0.1"), 9.0)
    assert answer.evicted is first
    assert connections.transit == 3
    assert connections.enter(first, "late", 9.0) == Refused("transit_full")


def test_where_all_are_busy_and_in_their_time_nobody_comes():
    connections = table()
    for _ in range(3):
        connections.progress(connections.accept(origin_of("127.0.0.1"), 0.0).connection, 0.0, Stage.SPEAKING)
    assert connections.accept(origin_of("127.0.0.1"), 0.1) == Refused("transit_full")
    assert isinstance(connections.accept(origin_of("127.0.0.1"), 1.0), Admitted)


def test_in_a_crowd_an_address_has_fewer_tries_until_it_has_completed_one():
    figures = replace(Figures(), transit=16)
    connections = Connections(figures, Judge())
    for n in range(16):
        connections.accept(origin_of(f"10.{n}.0.1"), 0.0)

    def tries(address: str, now: float) -> int:
        return sum(isinstance(connections.accept(origin_of(address), now), Admitted) for _ in range(8))

    assert tries("198.51.100.1", 0.0) == figures.hurried_burst
    assert tries("198.51.100.1", 5.0) == 1
    last = connections.accept(origin_of("198.51.100.2"), 6.0).connection
    connections.enter(last, "peer", 6.0)
    connections.accept(origin_of("10.9.0.1"), 6.0)
    assert tries("198.51.100.2", 6.0) == 7  # all that one address may have, one of them open
    connections.remove(last)
    assert connections.accept(origin_of("198.51.100.2"), 6.0 + figures.proven_seconds - 1).connection.proven
    assert not connections.accept(origin_of("198.51.100.1"), 20.0).connection.proven


def test_who_has_shown_nothing_has_little_of_our_time_while_others_wait():
    figures = replace(Figures(), hurried_rate=10.0)
    connections = Connections(figures, Judge())
    answers = [connections.accept(origin_of(f"10.{n // 250}.{n % 250}.1"), 0.0) for n in range(1000)]
    admitted = sum(isinstance(answer, Admitted) for answer in answers)
    assert admitted == 2 * figures.transit
    assert answers[-1] == Refused("transit_full")
    later = [connections.accept(origin_of(f"10.9.{n}.1"), 1.0) for n in range(100)]
    assert sum(isinstance(answer, Admitted) for answer in later) == 10


# --- open -------------------------------------------------------------------------------------------------------------
def test_strangers_leave_the_reserved_places_to_known_peers():
    connections = table(SMALL, "friend1", "friend2", "friend3")
    strangers = many(connections, 4)
    answer = come(connections, "10.9.0.1", "late")
    assert answer.evicted in strangers
    assert connections.open == 4
    for n in (1, 2):
        assert come(connections, "192.0.2.1", f"friend{n}").evicted is None
    assert connections.inbound == 6
    assert come(connections, "192.0.2.1", "friend3").evicted is not None
    assert connections.inbound == 6


def test_known_peers_never_go():
    connections = table(SMALL, *(f"friend{n}" for n in range(9)))
    many(connections, 6, "friend")
    assert come(connections, "192.0.2.1", "friend7") == Refused("connections_full")
    assert come(connections, "192.0.2.2", "stranger") == Refused("connections_full")
    assert connections.transit == 0


def test_dials_count_and_find_room():
    connections = table(SMALL, "friend")
    for n in range(6):
        assert isinstance(connections.join(NOWHERE, f"out{n}", 0.0), Admitted)
    assert not connections.has_room(NOWHERE, "out9", 0.0) or connections.join(NOWHERE, "out9", 0.0).evicted
    assert connections.has_room(NOWHERE, "friend", 0.0)
    assert connections.join(NOWHERE, "friend", 0.0).evicted is None
    assert connections.open == 7


def test_dials_to_strangers_beyond_their_share_make_room_for_callers():
    connections = table()
    dialled = [connections.join(NOWHERE, f"out{n}", float(n)).connection for n in range(6)]
    answer = come(connections, "10.0.0.1", "caller")
    assert answer.evicted in dialled


def test_a_dial_to_a_stranger_displaces_no_caller():
    connections = table()
    many(connections, 4)
    for n in range(2):
        connections.join(NOWHERE, f"out{n}", 0.0)
    assert not connections.has_room(NOWHERE, "out9", 0.0)
    assert connections.join(NOWHERE, "out9", 0.0) == Refused("connections_full")


def test_one_peer_does_not_hold_many():
    connections = table(SMALL, "friend")
    first = come(connections, "10.0.0.1", "friend").connection
    come(connections, "10.0.0.1", "friend")
    assert come(connections, "10.0.0.1", "friend").evicted is first
    assert connections.open == 2


def test_removing_twice_does_no_harm():
    connections = table()
    [one] = many(connections, 1)
    connections.remove(one)
    connections.remove(one)
    assert (connections.open, connections.transit, connections.inbound) == (0, 0, 0)
    assert not connections._customers
    assert not connections._networks


# --- anything in any order --------------------------------------------------------------------------------------------
ADDRESSES = [*(f"10.0.{n % 3}.{n}" for n in range(6)), "2001:db8::1", "2001:db8:0:100::1", "2001:db8:1::1", "127.0.0.1"]
PEERS = [f"peer{n}" for n in range(12)]


class TableMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.judge = Judge()
        self.table = Connections(SMALL, self.judge)
        self.transit: list[Connection] = []
        self.open: list[Connection] = []
        self.gone: list[Connection] = []
        self.now = 0.0

    def take(self, answer: Admitted | Refused, newcomer_known: bool = False) -> Connection | None:
        if isinstance(answer, Refused):
            return None
        if (evicted := answer.evicted) is not None:
            if evicted in self.transit:
                self.transit.remove(evicted)
            else:
                self.open.remove(evicted)
                assert evicted.peer == answer.connection.peer or not self.judge.known(evicted.peer)
            self.gone.append(evicted)
        return answer.connection

    @rule(address=st.sampled_from(ADDRESSES), heard=st.booleans())
    def accept(self, address, heard):
        connection = self.take(self.table.accept(origin_of(address), self.now, lambda _: heard))
        if connection is not None:
            self.transit.append(connection)

    @precondition(lambda self: self.transit)
    @rule(data=st.data(), stage=st.sampled_from([Stage.SPEAKING, Stage.AUTHENTICATED]))
    def progress(self, data, stage):
        self.table.progress(data.draw(st.sampled_from(self.transit)), self.now, stage)

    @precondition(lambda self: self.transit)
    @rule(data=st.data(), peer=st.sampled_from(PEERS))
    def enter(self, data, peer):
        connection = data.draw(st.sampled_from(self.transit))
        self.transit.remove(connection)
        if self.take(self.table.enter(connection, peer, self.now)) is None:
            self.gone.append(connection)
        else:
            self.open.append(connection)

    @precondition(lambda self: self.gone)
    @rule(data=st.data())
    def what_is_gone_comes_no_further(self, data):
        gone = data.draw(st.sampled_from(self.gone))
        assert isinstance(self.table.enter(gone, "peer0", self.now), Refused)
        self.table.remove(gone)

    @rule(address=st.sampled_from(ADDRESSES), peer=st.sampled_from(PEERS))
    def join(self, address, peer):
        room = self.table.has_room(origin_of(address), peer, self.now)
        connection = self.take(self.table.join(origin_of(address), peer, self.now))
        assert room == (connection is not None)
        if connection is not None:
            self.open.append(connection)

    @precondition(lambda self: self.transit or self.open)
    @rule(data=st.data())
    def leave(self, data):
        connection = data.draw(st.sampled_from([*self.transit, *self.open]))
        self.table.remove(connection)
        (self.transit if connection in self.transit else self.open).remove(connection)

    @rule(peer=st.sampled_from(PEERS), penalty=st.sampled_from([0, 5, 10, 100]), streams=st.integers(0, 3))
    def judge_peer(self, peer, penalty, streams):
        self.judge.worths[peer] = Worth(penalty, streams)
        (self.judge.friends.add if penalty == 5 else self.judge.friends.discard)(peer)

    @rule(seconds=st.floats(0, 10))
    def wait(self, seconds):
        self.now += seconds

    @invariant()
    def bounds_hold(self):
        table = self.table
        assert (table.transit, table.open) == (len(self.transit), len(self.open))
        assert table.transit <= SMALL.transit
        assert table.open <= SMALL.connections
        assert table.inbound <= SMALL.inbound
        inbound = [each for each in [*self.transit, *self.open] if each.inbound]
        customers = Counter(each.origin.customer for each in inbound)
        assert table._customers == customers
        assert all(n <= SMALL.address_connections for key, n in customers.items() if key != "127.0.0.1")
        networks = Counter(each.origin.network for each in inbound)
        assert table._networks == networks
        assert all(n <= SMALL.network_connections for key, n in networks.items() if key)
        peers = Counter(each.peer for each in self.open)
        assert all(n <= SMALL.peer_connections for n in peers.values())

    def teardown(self):
        for connection in [*self.transit, *self.open]:
            self.table.remove(connection)
        assert not self.table._customers
        assert not self.table._networks


TestTable = TableMachine.TestCase

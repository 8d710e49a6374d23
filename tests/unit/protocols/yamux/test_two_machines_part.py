"""Two sessions that part, at any moment: the connection is lost with whatever was on the way, or one side goes away.

Nobody is left waiting, nothing that was lost looks like an end, and no memory stays charged.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from nexusd_protocols.yamux.events import Drained
from tests.unit.protocols.yamux.two_machines import SIDES, End, TwoMachines

THOUSANDTHS = st.integers(0, 1000)


class CutOff(TwoMachines):
    """The run of rules ends anywhere; there the connection breaks."""

    @initialize(arrives=st.fixed_dictionaries({"alice": THOUSANDTHS, "bob": THOUSANDTHS}))
    def choose(self, arrives):
        self.arrives = arrives

    def teardown(self):
        for side in self.sides.values():
            octets = b"".join([*side.way, side.session.take_output()])
            other = self.other(side.name)
            self.heed(side, side.session.take_events())
            self.heed(other, other.session.receive(octets[: len(octets) * self.arrives[side.name] // 1000], self.now))
        for side in self.sides.values():
            self.heed(side, side.session.receive_eof())
            while (stream := side.session.accept()) is not None:
                side.ends[stream.id] = End(stream, side.name)
        for side in self.sides.values():
            for end in side.ends.values():
                if not end.was_reset:
                    self.hear_the_rest(end)
            self.is_over(side.session)
        self.memory_is_accounted_for()
        assert self.root.held == self.root.promised == 0

    def hear_the_rest(self, end: End) -> None:
        assert not end.waits_to_write
        assert not end.waits_to_read
        while not (end.stream.at_end or end.stream.reset_by is not None) or end.stream.incoming.size:
            assert self.take_some(end), "neither an end, nor a reset, nor anything to read"
        if end.read < self.said_to(end):
            assert not end.stream.at_end

    def take_some(self, end: End) -> bool:
        before = end.read
        self.take(end, 100_000)  # which looks whether an end is one
        return end.read > before

    def said_to(self, end: End) -> int:
        """What the other side has written on the stream: all that could have been read."""
        other = self.other(end.side).ends.get(end.stream.id)
        return other.written if other is not None else 0

    def is_over(self, session) -> None:
        assert session.over
        assert not session.may_open
        assert session.streams == 0
        assert session.receive(b"\xff" * 100, self.now) == []
        assert session.tick(self.now + 1e6) == []
        assert session.receive_eof() == []


class GoneAway(TwoMachines):
    """One side or both say goodbye. Streams that are open go on; with the last of them the session is drained."""

    def __init__(self) -> None:
        super().__init__()
        self.drained: list[str] = []

    @rule(name=SIDES)
    def go_away(self, name):
        side = self.sides[name]
        side.session.go_away()
        assert not side.session.may_open
        self.heed(side, side.session.take_events())

    def heed(self, side, events) -> None:
        super().heed(side, events)
        self.drained += [side.name for event in events if isinstance(event, Drained)]

    def teardown(self):
        super().teardown()
        left = any(side.session.leaving for side in self.sides.values())
        assert sorted(self.drained) == (["alice", "bob"] if left else [])


_settings = settings(stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
TestCutOff = CutOff.TestCase
TestCutOff.settings = _settings
TestGoneAway = GoneAway.TestCase
TestGoneAway.settings = _settings

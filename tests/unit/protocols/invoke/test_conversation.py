"""A caller and a provider joined by a stream that splits and merges at will, with either giving up at any moment.

Whatever is done in whatever order: nobody is blamed for what the other may do, content arrives whole and in order,
both count the same, and what one end says last is what the other hears last.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nexusd_protocols import ndjson
from nexusd_protocols.errors import LimitExceededError
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.caller import Caller
from nexusd_protocols.invoke.provider import Provider
from nexusd_protocols.invoke.side import OVER, State
from tests.harness.invocation import PROOF, TERMS, open_command
from tests.harness.people import ALICE, BOB

DATA = st.one_of(
    st.text('aé\n"\\ ', max_size=30),
    st.integers(-5, 5),
    st.lists(st.none() | st.booleans(), max_size=4),
    st.dictionaries(st.sampled_from("ab"), st.text("x", max_size=3)),
)
LIMIT = 200
HIGH_WATER = 300


class Pipe:
    """Bytes on their way to one machine, and what it made of them."""

    def __init__(self, source: Any, target: Any) -> None:
        self.source = source
        self.target = target
        self.bytes = b""
        self.closed = False
        self.eof_seen = False
        self.events: list[Any] = []

    def carry(self, count: int) -> None:
        """Let up to `count` bytes arrive; then, if the source has closed, the end of the stream."""
        arriving, self.bytes = self.bytes[:count], self.bytes[count:]
        if arriving:
            self.source.sent(len(arriving))
            self.events += self.target.receive(arriving)
        if self.closed and not self.bytes and not self.eof_seen:
            self.eof_seen = True
            self.events += self.target.receive_eof()


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.caller = Caller(ALICE.peer_id, BOB.peer_id, high_water=HIGH_WATER)
        self.provider = Provider(BOB.peer_id, ALICE.peer_id, high_water=HIGH_WATER)
        self.there = Pipe(self.caller, self.provider)
        self.back = Pipe(self.provider, self.caller)
        self.input: list[Any] = []
        self.output: list[tuple[str, Any]] = []
        self.input_final = False
        self.there.bytes += self.caller.send(open_command(max_input_bytes=LIMIT, max_output_bytes=LIMIT))

    # --- the caller's side ----------------------------------------------------------------------------------------
    @precondition(lambda self: self.caller.state not in OVER and not self.input_final and self.caller.writable)
    @rule(data=DATA, final=st.booleans())
    def chunk(self, data, final):
        if self.caller.usage.input_bytes + ndjson.json_size(data) > LIMIT:
            with pytest.raises(LimitExceededError, match="input"):
                self.caller.send(commands.Chunk(data, final))
            return
        self.there.bytes += self.caller.send(commands.Chunk(data, final))
        self.input.append(data)
        self.input_final = final
        if final:
            self.there.closed = True  # a caller may half-close behind its input

    @precondition(lambda self: self.caller.state is State.DEMANDED)
    @rule()
    def pay(self):
        if not self.there.closed:
            self.there.bytes += self.caller.send(commands.Pay(PROOF))

    @rule(timed_out=st.booleans())
    def caller_gives_up(self, timed_out):
        line = self.caller.send(commands.TimedOut() if timed_out else commands.Cancel("enough"))
        if not self.there.closed:
            self.there.bytes += line
        assert self.caller.state in OVER

    # --- the provider's side --------------------------------------------------------------------------------------
    @precondition(lambda self: self.provider.state in (State.OPEN, State.PAID))
    @rule()
    def accept(self):
        self.back.bytes += self.provider.send(commands.Accept(1))

    @precondition(lambda self: self.provider.state is State.OPEN)
    @rule()
    def demand(self):
        self.back.bytes += self.provider.send(commands.Demand(TERMS))

    @precondition(
        lambda self: self.provider.state in (State.OPEN, State.PAID, State.RUNNING) and self.provider.writable
    )
    @rule(data=DATA, event=st.sampled_from(["token", "progress"]))
    def event(self, data, event):
        if self.provider.usage.output_bytes + ndjson.json_size(data) > LIMIT:
            with pytest.raises(LimitExceededError, match="output"):
                self.provider.send(commands.Event(event, data))
            return
        self.back.bytes += self.provider.send(commands.Event(event, data))
        self.output.append((event, data))

    @precondition(lambda self: self.provider.state in (State.OPEN, State.PAID, State.RUNNING))
    @rule()
    def done(self):
        self.back.bytes += self.provider.send(commands.Done())

    @precondition(lambda self: self.provider.state not in (State.START, *OVER))
    @rule(how=st.sampled_from([commands.Error("INTERNAL", "broken"), commands.Cancel("tired"), commands.TimedOut()]))
    def provider_gives_up(self, how):
        self.back.bytes += self.provider.send(how)

    @precondition(lambda self: self.provider.state is State.PEER_ENDED)
    @rule()
    def provider_has_not_heard_yet(self):
        for late in (commands.Event("token", "x"), commands.Done(), commands.Error("X", ""), commands.Cancel()):
            assert self.provider.send(late) == b""

    # --- the stream -----------------------------------------------------------------------------------------------
    @rule(count=st.integers(1, 400))
    def carry_there(self, count):
        self.there.carry(count)

    @rule(count=st.integers(1, 400))
    def carry_back(self, count):
        if self.provider.state in OVER:
            self.back.closed = True
        self.back.carry(count)

    # --- what always holds ----------------------------------------------------------------------------------------
    @invariant()
    def content_arrives_whole_and_in_order(self):
        inputs = [event for event in self.there.events if isinstance(event, events.Input)]
        for got, sent in zip(inputs, self.input, strict=False):
            assert got.data == sent or (sent == "" and got.final)
        outputs = [(event.event, event.data) for event in self.back.events if isinstance(event, events.Output)]
        assert outputs == self.output[: len(outputs)]

    @invariant()
    def accepted_comes_once_and_first(self):
        names = [type(event).__name__ for event in self.back.events]
        assert names.count("Accepted") <= 1
        if "Output" in names:
            assert names.index("Accepted") < names.index("Output")

    @invariant()
    def ends_come_once_and_last(self):
        for pipe in (self.there, self.back):
            ends = [
                index
                for index, event in enumerate(pipe.events)
                if isinstance(event, events.Finished | events.Failed | events.Cancelled)
            ]
            assert ends in ([], [len(pipe.events) - 1])

    @invariant()
    def limits_hold(self):
        for usage in (self.caller.usage, self.provider.usage):
            assert usage.input_bytes <= LIMIT
            assert usage.output_bytes <= LIMIT
        assert len(self.there.bytes) <= HIGH_WATER + 1500
        assert len(self.back.bytes) <= HIGH_WATER + 1500

    def teardown(self):
        """Everything arrives, and both ends agree."""
        self.there.carry(1_000_000)
        if self.provider.state not in OVER:
            self.back.bytes += self.provider.send(commands.Error("INTERNAL", "the test is over"))
        self.carry_back(1_000_000)
        assert self.provider.state in OVER
        assert self.caller.state in OVER
        if self.back.events and isinstance(self.back.events[-1], events.Finished):
            finished = self.back.events[-1]
            assert finished.usage.output_bytes == finished.claimed.output_bytes == self.provider.usage.output_bytes
            assert finished.usage.events == finished.claimed.events == len(self.output)
            assert finished.claimed.input_bytes <= finished.usage.input_bytes


TestConversation = Conversation.TestCase
TestConversation.settings = settings(stateful_step_count=40, deadline=None)

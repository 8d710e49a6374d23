"""Several routers, joined by a scheduler that delays and reorders, under any sequence of events: what must hold holds
after every step, and when all is quiet everybody hears everybody."""

from __future__ import annotations

import heapq
import itertools
from random import Random

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nexusd_protocols.gossipsub.inputs import (
    Join,
    Leave,
    PeerJoined,
    PeerLeft,
    Publish,
    Received,
    Tick,
    Validated,
    Version,
)
from nexusd_protocols.gossipsub.outputs import Deliver, Send, Validate
from nexusd_protocols.gossipsub.params import Params, ScoreParams, TopicScoreParams, decay_over
from nexusd_protocols.gossipsub.router import GossipSub
from nexusd_protocols.gossipsub.rpc import Rpc
from tests.harness.examples import examples
from tests.harness.gossipsub import TOPIC, check_invariants, id_of, said

NODES = [f"node-{number}" for number in range(6)]
# so small that meshes are trimmed, filled and left
PARAMS = Params(
    d=2,
    d_low=1,
    d_high=3,
    d_score=1,
    d_out=0,
    d_lazy=2,
    prune_backoff=3.0,
    unsubscribe_backoff=2.0,
    idontwant_threshold=50,
    # and so forgiving that the end is soon
    score=ScoreParams(
        retain_score=10.0,
        behaviour_penalty_decay=decay_over(10.0),
        topic=TopicScoreParams(invalid_message_deliveries_decay=decay_over(10.0)),
    ),
)
nodes = st.sampled_from(NODES)


class Network(RuleBasedStateMachine):
    """RPCs take their time, and keep their order between two peers."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed):
        self.now = 0.0
        self.chance = Random(seed)
        self.routers = {
            name: GossipSub(name, now=0.0, chance=Random(seed + number), params=PARAMS, message_id=id_of)
            for number, name in enumerate(NODES)
        }
        self.links = set()
        self.queue = []
        self.order = itertools.count()
        self.arrival = {}
        self.heard = {name: [] for name in NODES}
        self.published = []
        self.backoff = {}
        for name in NODES:
            self.handle(name, Join(TOPIC))
        for one, other in itertools.combinations(NODES, 2):
            if self.chance.random() < 0.6:
                self.connect(one, other, Version.V1_2)

    def handle(self, name, event):
        router = self.routers[name]
        for output in router.handle(event, self.now):
            if isinstance(output, Deliver):
                self.heard[name].append((output.message.sender, output.message.seqno))
            elif isinstance(output, Validate):
                verdict = "reject" if output.message.signature == b"bad" else "accept"
                delay = 0.0 if self.chance.random() < 0.5 else self.chance.random()
                self.later(delay, name, Validated(output.ticket, verdict))
            elif isinstance(output, Send):
                self.send(name, output)
        if isinstance(event, Tick):
            check_invariants(router)
            # opportunistic grafting comes behind the trimming
            more = 0 if router.counters.heartbeats % 60 else PARAMS.opportunistic_graft_peers
            assert len(router.mesh(TOPIC)) <= PARAMS.d_high + more, "trimmed by the heartbeat"

    def send(self, name, output):
        for peer in output.peers:
            assert frozenset((name, peer)) in self.links, "only to who is connected"
            self.check_backoff(name, peer, output.rpc.control)
            arrival = max(self.now + self.chance.random() / 5, self.arrival.get((name, peer), 0.0))
            self.arrival[name, peer] = arrival
            self.later(arrival - self.now, peer, Received(name, output.rpc))

    def check_backoff(self, name, peer, control):
        if control is None:
            return
        for graft in control.graft:
            assert self.now >= self.backoff.get((name, peer, graft.topic), 0.0), "never a GRAFT in our own back-off"
        for prune in control.prune:
            # to a 1.0 peer it says nothing, and means two seconds at least
            until = self.now + (prune.backoff or 2)
            self.backoff[name, peer, prune.topic] = max(until, self.backoff.get((name, peer, prune.topic), 0.0))

    def later(self, delay, name, event):
        heapq.heappush(self.queue, (self.now + delay, next(self.order), name, event))

    def run(self, seconds):
        until = self.now + seconds
        while True:
            name = min(NODES, key=lambda each: self.routers[each].deadline())
            beat = self.routers[name].deadline()
            if self.queue and self.queue[0][0] <= min(beat, until):
                at, _, receiver, event = heapq.heappop(self.queue)
                self.now = max(self.now, at)
                if not isinstance(event, Received) or frozenset((receiver, event.peer)) in self.links:
                    self.handle(receiver, event)
            elif beat <= until:
                self.now = max(self.now, beat)
                self.handle(name, Tick())
            else:
                self.now = until
                return

    def connect(self, one, other, version):
        link = frozenset((one, other))
        if len(link) == 2 and link not in self.links:
            self.links.add(link)
            self.handle(one, PeerJoined(other, version, outbound=True))
            self.handle(other, PeerJoined(one, version))

    @rule(one=nodes, other=nodes, version=st.sampled_from([Version.V1_0, Version.V1_1, Version.V1_2, Version.FLOODSUB]))
    def meet(self, one, other, version):
        self.connect(one, other, version)

    @rule(one=nodes, other=nodes)
    def part(self, one, other):
        link = frozenset((one, other))
        if link in self.links:
            self.links.remove(link)
            # what was on its way is lost with the connection
            self.queue = [each for each in self.queue if not self.on_link(each, link)]
            heapq.heapify(self.queue)
            self.handle(one, PeerLeft(other))
            self.handle(other, PeerLeft(one))

    @staticmethod
    def on_link(item, link):
        return isinstance(item[3], Received) and frozenset((item[2], item[3].peer)) == link

    @rule(name=nodes, joined=st.booleans())
    def change_topic(self, name, joined):
        self.handle(name, (Join if joined else Leave)(TOPIC))

    @rule(name=nodes, size=st.sampled_from([1, 60]), shared=st.booleans())
    def publish(self, name, size, shared):
        number = len(self.published) + 1
        # some ids are everybody's: authors do not get into one another's way
        message = said(name, number, data=bytes(size), wire_id=b"shared" if shared else None)
        if (name, message.seqno) not in self.published:
            self.published.append((name, message.seqno))
            self.handle(name, Publish(message))

    @rule(name=nodes, victim=nodes)
    def forge(self, name, victim):
        """Somebody sends everybody it knows a message in another's name."""
        if name != victim:
            forged = said(victim, len(self.published) + 1, signature=b"bad")
            for peer in self.routers[name].subscribers(TOPIC):
                self.later(self.chance.random() / 5, peer, Received(name, Rpc(messages=(forged,))))

    @rule(seconds=st.sampled_from([0.05, 0.5, 3.0, 8.0]))
    def wait(self, seconds):
        self.run(seconds)

    @rule(seconds=st.sampled_from([30.0, 100_000.0]))
    def jump(self, seconds):
        """The clock leaps: everything that was to happen happens late. What is on its way first arrives, because nobody
        remembers a message for so long."""
        self.run(3.0)
        self.now += seconds
        self.run(0.0)

    @precondition(lambda self: hasattr(self, "heard"))
    @invariant()
    def nothing_twice_and_nothing_forged(self):
        for name, heard in self.heard.items():
            check_invariants(self.routers[name])
            assert len(heard) == len(set(heard)), f"{name} heard a message twice"
            assert set(heard) <= set(self.published)

    def teardown(self):
        """All connected and quiet for longer than any back-off: then what one says all hear."""
        if not hasattr(self, "heard"):
            return
        for one, other in itertools.combinations(NODES, 2):
            self.connect(one, other, Version.V1_2)
        for name in NODES:
            self.handle(name, Join(TOPIC))
        self.run(20.0)
        for name in NODES:
            assert all(score.total >= 0 for score in self.routers[name].scores()), "time forgives"
            self.published.append((name, b"last"))
            self.handle(name, Publish(said(name, wire_id=b"last")))
        self.run(10.0)
        for name in NODES:
            last = {sender for sender, number in self.heard[name] if number == b"last"}
            assert last == set(NODES) - {name}


TestNetwork = Network.TestCase
TestNetwork.settings = settings(
    max_examples=examples(20), stateful_step_count=30, deadline=None, phases=[Phase.generate]
)

"""The ten scenarios of the GossipSub v1.1 evaluation (arXiv 2007.02754; PL-TechRep-2020-001 §6 to §15).

Shares are the report's: as many Sybils for each honest host (four; one against a single target; two for censorship and
degradation), as many connections of each host and Sybil, a tenth of the honest hosts publish. What is shortened is the
time, and with it the number of messages. The clock of each scenario says when who connects, publishes and attacks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from nexusd_protocols.gossipsub.params import Params
from tests.sim.gossipsub.attackers import Malice, Sybil
from tests.sim.gossipsub.honest import Honest
from tests.sim.gossipsub.network import Network
from tests.sim.gossipsub.outcome import Outcome, Watch

HONEST_DEGREE: Final = 20
"""Connections that each honest host has or makes (report §4)."""
PUBLISHERS: Final = 0.1
MESSAGE_BYTES: Final = 2048
SETTLE_SECONDS: Final = 12.0
"""After the last message: delivery is asked for within six."""


WITHHOLDING: Final = Malice()


@dataclass(frozen=True, slots=True)
class Scenario:
    """`sybils`: how many for each honest host. `degree`: connections that each makes. `share_ip`: Sybils behind one
    address. Times in seconds; `publish` is from when until when, at `rate` messages a second in all."""

    name: str
    section: int
    sybils: int = 0
    degree: int = 20
    target: Literal["everybody", "publishers", "one"] = "everybody"
    honest_at: float = 0.0
    sybils_at: float = 30.0
    share_ip: int = 1
    malice: Malice = WITHHOLDING
    censor_one: bool = False
    publish: tuple[float, float] = (20.0, 80.0)
    rate: float = 3.0


SCENARIOS: Final = (
    Scenario("baseline", 6, publish=(20.0, 60.0), rate=2.0),
    Scenario("eclipse of one", 7, sybils=1, degree=1, target="one"),
    Scenario("eclipse of the network", 8, sybils=4, degree=100, rate=2.0),
    Scenario("eclipse of all publishers", 9, sybils=4, degree=100, target="publishers"),
    Scenario("censorship", 10, sybils=2, degree=100, malice=Malice(drop=0.0), censor_one=True, rate=2.0),
    Scenario("degradation", 11, sybils=2, malice=Malice(drop=0.5)),
    Scenario("cold boot", 12, sybils=4, sybils_at=0.0),
    Scenario(
        "covert flash",
        13,
        sybils=4,
        sybils_at=0.0,
        malice=Malice(attack_at=120.0),
        publish=(20.0, 160.0),
        rate=2.0,
    ),
    Scenario("attack at dawn", 14, sybils=4, degree=100, honest_at=5.0, sybils_at=0.0, rate=2.0),
    Scenario("colocation", 15, sybils=4, sybils_at=0.0, share_ip=160),
)


def run(scenario: Scenario, nodes: int, seed: int, params: Params | None = None) -> Outcome:
    """Play a scenario with so many hosts in all, Sybils among them."""
    params = params or Params()
    network = Network(seed)
    watch = Watch(network)
    honest_count = nodes // (1 + scenario.sybils)
    hosts = [Honest(network, f"h{n}", f"10.0.{n >> 8}.{n & 255}", params, watch.heard) for n in range(honest_count)]
    for host in hosts:
        network.add(host)
    publishers = hosts[: max(2, round(honest_count * PUBLISHERS))]
    victim = publishers[0]
    malice = replace(scenario.malice, censored=victim.name) if scenario.censor_one else scenario.malice
    targets = {"everybody": hosts, "publishers": publishers, "one": [victim]}[scenario.target]
    sybils = [
        Sybil(network, f"s{n}", f"10.1.{n // scenario.share_ip >> 8}.{n // scenario.share_ip & 255}", malice)
        for n in range(nodes - honest_count if scenario.sybils else 0)
    ]

    def connect_honest() -> None:
        for host in hosts:
            others = network.random.sample(hosts, min(HONEST_DEGREE, len(hosts)))
            for other in others[: HONEST_DEGREE // 2]:  # each dials half of its degree, and is dialled as often
                network.connect(host.name, other.name)

    def connect_sybil(sybil: Sybil) -> None:
        for target in network.random.sample(targets, min(scenario.degree, len(targets))):
            network.connect(sybil.name, target.name)

    network.at(scenario.honest_at, connect_honest)
    for sybil in sybils:
        network.add(sybil)
        # a minute of jitter would be the report's five percent of its start-up; they come within two seconds here
        network.at(scenario.sybils_at + 2 * network.random.random(), connect_sybil, sybil)

    begin, end = scenario.publish
    count = round((end - begin) * scenario.rate)
    for number in range(count):
        # the victim of an attack on one host says every fourth message: its delivery is what is asked about
        alone = scenario.target == "one" or scenario.censor_one
        author = victim if alone and number % 4 == 0 else network.random.choice(publishers)
        network.at(begin + number / scenario.rate, watch.publish, author, number, MESSAGE_BYTES)
    network.run(until=end + SETTLE_SECONDS)
    return watch.outcome(hosts, victim.name if scenario.target == "one" or scenario.censor_one else "")

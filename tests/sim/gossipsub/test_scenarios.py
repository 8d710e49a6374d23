"""The ten scenarios: fifty hosts in the quick check, a thousand in the whole test."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from nexusd_protocols.gossipsub.params import Params, ScoreParams, TopicScoreParams
from tests.sim.gossipsub.scenarios import SCENARIOS, Scenario, run

HEARD = 0.999
CPU_SECONDS = 60
"""The longest takes half of it on the cores that this was written on."""


@pytest.mark.parametrize("nodes", [50, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_what_honest_hosts_say_is_heard_in_time(scenario: Scenario, nodes: int) -> None:
    seed = scenario.section
    began = time.process_time()
    # fewer messages in the quick check, and not one attacker less
    outcome = run(scenario if nodes == 1000 else replace(scenario, rate=0.5), nodes, seed)
    seconds = time.process_time() - began
    print("seed", seed, outcome, f"{seconds:.1f} s of processor time")
    assert outcome.in_time >= HEARD
    assert outcome.victim_in_time >= HEARD
    assert outcome.repeated == 0
    assert seconds <= CPU_SECONDS


@pytest.mark.parametrize(
    ("name", "heard"),
    [
        ("cold boot", 0.1),
        pytest.param("attack at dawn", 0.1, marks=pytest.mark.slow),
        pytest.param("covert flash", 0.9, marks=pytest.mark.slow),
    ],
)
def test_the_attackers_bite(name: str, heard: float) -> None:
    """What would be 1.0 hosts (no scores, no flood publishing, no gossip, no outbound quota) hear next to nothing where
    Sybils have taken the meshes, and of a covert flash nothing after it: it is the router that holds, not the attack
    that is weak."""
    deaf = Params(
        d_lazy=0,
        gossip_factor=0.0,
        flood_publish_bytes=0,
        d_out=0,
        greet=False,
        score=ScoreParams(
            topic=TopicScoreParams(first_message_deliveries_weight=0.0), opportunistic_graft_threshold=0.0
        ),
    )
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)
    outcome = run(replace(scenario, rate=0.5), 100, 1, deaf)
    print("seed 1", outcome)
    assert outcome.in_time < heard

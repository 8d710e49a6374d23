"""The work of a node does not grow with the network (docs/explanation/gossipsub.md has it up to 10,000 members)."""

from __future__ import annotations

import pytest

from tests.sim.gossipsub.scale import measure


@pytest.mark.parametrize("size", [100, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_ten_times_the_members_are_not_ten_times_the_work(size: int) -> None:
    seed = 4
    small, large = measure(30, seed), measure(size, seed)
    print("seed", seed, small, large)
    assert large.heard == small.heard == 1
    assert large.rpcs < 1.5 * small.rpcs
    assert large.copies < 1.5 * small.copies

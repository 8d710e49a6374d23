"""Each program of a measurement does its work: how fast is for `make bench`."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.content import __main__ as content
from bench.gossip import __main__ as gossip
from bench.sync import __main__ as sync
from bench.sync.plot import plot
from bench.transport.__main__ import FIGURES, LEFT_OUT, QUICK, measure
from bench.transport.side import TRANSPORTS
from tests.harness import go, js


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stack", "transport"), [(stack, kind) for stack, kinds in TRANSPORTS.items() for kind in kinds]
)
def test_every_stack_can_be_measured(stack: str, transport: str) -> None:
    if stack == "js":
        js.require()
    if stack == "go":
        go.require("transport")
    found = measure(stack, transport, QUICK, pin=False)
    assert set(found) == {figure.key for figure in FIGURES} - LEFT_OUT.get(stack, set())
    # processor time is counted in hundredths of a second: so little may take none
    assert all(value > 0 for key, value in found.items() if key not in ("memory", "cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("stack", gossip.STACKS)
def test_every_gossip_can_be_measured(stack: str) -> None:
    if stack == "js":
        js.require()
    found = gossip.measure(stack, quick=True)
    assert set(found) == {figure.key for figure in gossip.FIGURES}
    assert found["rate200"] > 0
    if stack == "ours":
        assert found["loss200"] == found["loss1024"] == found["crowd-loss"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("pair", content.PAIRS)
def test_every_fetch_can_be_measured(pair: str) -> None:
    if "helia" in pair:
        js.require(js.HELIA)
    found = content.measure(pair, 8)
    assert set(found) == {figure.key for figure in content.FIGURES}
    assert found["rate"] > 0


@pytest.mark.slow
def test_comparing_can_be_measured_and_its_cost_follows_the_difference(tmp_path: Path) -> None:
    costs = sync.measure_costs(tmp_path, (1000, 4000), 4000, (1, 10, 100), 1, print)
    small, large = sync.by_size(costs)
    assert large.compared < 2 * small.compared
    by_difference = sync.by_difference(costs, 4000, (1000, 4000))
    assert [cost.different for cost in by_difference] == [0, 1, 10, 100]
    nothing, one, ten, hundred = by_difference
    assert nothing.compared < 1000
    assert one.bytes < ten.bytes < hundred.bytes < 40 * 4000
    assert ET.fromstring(plot([small, large], [one, ten, hundred])).tag.endswith("svg")


@pytest.mark.slow
def test_meeting_taking_in_and_storing_can_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    js.require(js.HELIA)
    assert sync.main(["--quick", "--only", "meet", "--only", "take", "--only", "store"]) == 0
    printed = capsys.readouterr().out
    for title in ("two daemons", "an empty room", *sync.TITLES.values()):
        assert title in printed

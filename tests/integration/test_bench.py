"""Each program of a measurement does its work: how fast is for `make bench`."""

from __future__ import annotations

import pytest

from bench.content import __main__ as content
from bench.gossip import __main__ as gossip
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
    assert all(value > 0 for key, value in found.items() if key != "memory")


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

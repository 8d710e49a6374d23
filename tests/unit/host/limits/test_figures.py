"""The figures, other sizes of them, and what contradicts itself."""

from __future__ import annotations

import pytest

from nexusd.host.limits.figures import FEWEST, Figures


def test_the_figures_of_a_small_host():
    figures = Figures()
    assert (figures.connections, figures.inbound, figures.reserved, figures.transit) == (128, 96, 16, 32)
    assert (figures.address_connections, figures.network_connections) == (8, 64)
    assert (figures.address_rate, figures.address_burst, figures.handshake_seconds) == (0.2, 16, 3.0)
    assert figures.peer_bytes == 64 << 20


def test_scaling_keeps_the_proportions():
    assert Figures.scaled(128) == Figures()
    assert Figures.scaled(50, inbound=96).inbound == 50


def test_every_size_is_consistent():
    for connections in range(FEWEST, 300):
        Figures.scaled(connections)
        for inbound in (1, connections // 2, connections, 1000):
            Figures.scaled(connections, inbound)


@pytest.mark.parametrize("figures", [Figures(), Figures.scaled(FEWEST, 1), Figures.scaled(200, 200)])
def test_few_descriptors_leave_room_for_everything_else(figures):
    for descriptors in (*range(512), 1024, 1 << 16):
        fewer = figures.within(descriptors)
        assert fewer.connections <= figures.connections
        assert fewer.inbound <= figures.inbound
        if descriptors >= 64:
            assert fewer.connections + fewer.transit + 32 <= descriptors
        if descriptors >= 1024:
            assert fewer == figures


@pytest.mark.parametrize(
    "wrong",
    [{"inbound": 129}, {"reserved": 96}, {"reserved": -1}, {"transit": 0}, {"peer_connections": 0}],
)
def test_contradictions(wrong):
    with pytest.raises(ValueError, match=r"hold|nobody"):
        Figures(**wrong)

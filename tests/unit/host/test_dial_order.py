"""Which address is tried first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.host.dial_order import ip_of, order

FAR, FAR6 = "/ip4/198.51.100.1/tcp/1", "/ip6/2001:db8::1/tcp/1"
NEAR, WS = "/ip4/192.168.1.7/tcp/1", "/ip4/198.51.100.1/tcp/1/ws"
LOOPBACK, NAME = "/ip4/127.0.0.1/tcp/1", "/dns/bob.example/tcp/1"
RELAY = "/ip4/203.0.113.1/tcp/1/p2p/x/p2p-circuit/p2p/y"
LAN = ["/ip4/192.168.1.2/tcp/9"]


@pytest.mark.parametrize(
    ("addresses", "rules", "expected"),
    [
        ([WS, FAR], {}, [FAR, WS]),
        ([FAR, NEAR], {"own": LAN}, [NEAR, FAR]),
        ([FAR, NEAR], {"own": ["/ip4/192.168.2.2/tcp/9"]}, [FAR, NEAR]),
        ([LOOPBACK, FAR], {"own": LAN}, [FAR, LOOPBACK]),
        ([FAR, LOOPBACK], {"own": ["/ip4/0.0.0.0/tcp/9"]}, [LOOPBACK, FAR]),
        ([FAR, LOOPBACK], {"own": ["/ip4/127.0.0.1/tcp/9"]}, [LOOPBACK, FAR]),
        ([NEAR, FAR], {"own": LAN, "good": FAR}, [FAR, NEAR]),
        ([NEAR, FAR, WS], {"own": LAN, "good": FAR, "asked": [WS]}, [WS, FAR, NEAR]),
        ([FAR, FAR6], {"failed": lambda address: address == FAR6}, [FAR, FAR6]),
        ([FAR, FAR6, "/ip4/198.51.100.2/tcp/1", "/ip6/2001:db8::2/tcp/1"], {}, None),
        ([RELAY, FAR], {"good": RELAY, "failed": lambda address: address == FAR}, [FAR, RELAY]),
        ([FAR, NAME], {}, [NAME, FAR]),
        ([FAR, FAR], {}, [FAR]),
        ([], {}, []),
    ],
)
def test_rules(addresses, rules, expected):
    found = order(addresses, **rules)
    if expected is None:
        assert [address[1:4] for address in found] == ["ip6", "ip4", "ip6", "ip4"]
    else:
        assert found == expected


@given(
    st.lists(st.sampled_from([FAR, FAR6, NEAR, WS, LOOPBACK, NAME, RELAY, "", "/", "/ip4/", "/ip6/x/tcp", "nonsense"]))
)
def test_none_is_lost_and_none_twice(addresses):
    found = order(addresses, own=[*LAN, "nonsense"], good=FAR)
    assert sorted(found) == sorted(set(addresses))


def test_what_is_no_ip_address():
    assert ip_of("/dns/x/tcp/1") is None
    assert ip_of("/ip4/300.0.0.1/tcp/1") is None
    assert str(ip_of("/ip6/::1/tcp/1/ws")) == "::1"

"""Which addresses count as one."""

from __future__ import annotations

import pytest

from nexusd.host.limits.origin import NOWHERE, origin_of


def test_an_ipv4_address_is_one_customer():
    here = origin_of("198.51.100.7")
    assert (here.address, here.customer, here.network, here.loopback) == ("198.51.100.7", "198.51.100.7", "", False)
    assert here.neighbourhood == origin_of("198.51.100.250").neighbourhood != origin_of("198.51.101.7").neighbourhood


def test_an_ipv6_customer_has_a_56_and_a_site_a_48():
    here, neighbour = origin_of("2001:db8:1:200::1"), origin_of("2001:db8:1:2ff:ffff::2")
    assert here.customer == neighbour.customer != origin_of("2001:db8:1:300::1").customer
    assert here.network == origin_of("2001:db8:1:ff00::1").network != origin_of("2001:db8:2::1").network
    assert here.neighbourhood == here.network


@pytest.mark.parametrize("address", ["127.0.0.1", "127.200.3.4", "::1", "::ffff:127.0.0.1"])
def test_loopback(address):
    assert origin_of(address).loopback


def test_an_ipv4_address_in_ipv6_is_the_same_customer():
    assert origin_of("::ffff:198.51.100.7") == origin_of("198.51.100.7")


def test_the_zone_of_a_link_local_address_says_nothing():
    assert origin_of("fe80::1%eth0") == origin_of("fe80::1")


@pytest.mark.parametrize("text", ["", "host.example", "1.2.3", "/run/socket"])
def test_what_is_no_address(text):
    assert origin_of(text) is NOWHERE

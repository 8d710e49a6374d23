from __future__ import annotations

import pytest

from nexusd_protocols import limits
from nexusd_protocols.identity import peer_id_bytes
from nexusd_protocols.kad.contact import Contact, Reach, peer_of, place_of, reach, reaching, subnet
from tests.harness.kad import peer, tcp

DNS = b"\x36\x0bexample.org\x06\x0f\xa1"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (tcp("127.0.0.1"), Reach.HERE),
        (tcp("::1"), Reach.HERE),
        (tcp("::ffff:127.0.0.1"), Reach.HERE),
        (tcp("10.1.2.3"), Reach.NEAR),
        (tcp("192.168.0.9"), Reach.NEAR),
        (tcp("169.254.1.1"), Reach.NEAR),
        (tcp("100.64.0.1"), Reach.NEAR),
        (tcp("fd00::1"), Reach.NEAR),
        (tcp("fe80::1"), Reach.NEAR),
        (tcp("8.8.8.8"), Reach.ANYWHERE),
        (tcp("2606:4700::1"), Reach.ANYWHERE),
        (DNS, Reach.ANYWHERE),
        (tcp("0.0.0.0"), None),
        (tcp("::"), None),
        (tcp("224.0.0.1"), None),
        (tcp("255.255.255.255"), None),
        (b"\x04\x01", None),
        (b"\xff\xff", None),
        (b"", None),
    ],
)
def test_how_far_an_address_reaches(address, expected):
    assert reach(address) is expected


def test_a_peer_is_told_only_of_what_reaches_it():
    addresses = [tcp("127.0.0.1"), tcp("10.0.0.1"), tcp("8.8.8.8"), tcp("0.0.0.0"), tcp("8.8.8.8")]
    assert reaching(addresses, Reach.HERE) == (tcp("127.0.0.1"), tcp("10.0.0.1"), tcp("8.8.8.8"))
    assert reaching(addresses, Reach.NEAR) == (tcp("10.0.0.1"), tcp("8.8.8.8"))
    assert reaching(addresses, Reach.ANYWHERE) == (tcp("8.8.8.8"),)


def test_addresses_are_bounded():
    many = [tcp("8.8.8.8", port) for port in range(1, 100)]
    assert reaching(many, Reach.HERE) == tuple(many[: limits.KAD_ADDRESSES])
    assert reaching([tcp("8.8.8.8") + b"x" * limits.KAD_ADDRESS_BYTES], Reach.HERE) == ()


def test_subnets():
    assert subnet(tcp("8.8.4.1")) == subnet(tcp("8.8.4.200")) == "8.8.4.0/24"
    assert subnet(tcp("2606:4700:1::1")) == subnet(tcp("2606:4700:1:ffff::2")) == "2606:4700:1::/48"
    assert subnet(tcp("10.0.0.1")) == subnet(tcp("127.0.0.1")) == subnet(DNS) == ""


def test_peers_are_placed_by_the_hash_of_their_bytes():
    assert Contact(peer(1)).place == place_of(peer_id_bytes(peer(1)))
    assert peer_of(peer_id_bytes(peer(1))) == peer(1)


@pytest.mark.parametrize("raw", [b"", b"x", b"\x12\x20" + b"x" * 36, peer_id_bytes(peer(1)) + b"x"])
def test_ids_of_other_keys_are_refused(raw):
    with pytest.raises(ValueError, match="not "):
        peer_of(raw)

"""Addresses of candidates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_bootstrap.candidate import ADDRESSES, Candidate, candidates, parse_address
from tests.harness.people import ALICE, BOB

PEER = ALICE.peer_id


@pytest.mark.parametrize(
    "address",
    [
        "/ip4/192.168.1.5/tcp/4001",
        "/ip6/fd00::2/tcp/4001",
        "/ip4/127.0.0.1/tcp/4002/ws",
        "/dns4/example.org/tcp/443/wss",
        f"/ip4/1.2.3.4/tcp/1/p2p/{BOB.peer_id}/p2p-circuit",
    ],
)
def test_an_address_is_split(address):
    assert parse_address(f"{address}/p2p/{PEER}") == (PEER, address)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "such as"),
        ("192.168.1.5:4001", "such as"),
        ("/ip4/192.168.1.5/tcp/4001", "such as"),
        (f"/p2p/{PEER}", "such as"),
        (f"x/p2p/{PEER}", "unknown protocol"),
        (f"//p2p/{PEER}", "address"),
        (f"/ip4/999.1.1.1/tcp/1/p2p/{PEER}", "IPv4"),
        (f"/ip4/1.1.1.1/tcp/99999/p2p/{PEER}", "range"),
        (f"/nonsense/1/p2p/{PEER}", "unknown protocol"),
        ("/ip4/1.1.1.1/tcp/1/p2p/", "PeerId"),
        ("/ip4/1.1.1.1/tcp/1/p2p/bob", "PeerId"),
        ("/ip4/1.1.1.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "Ed25519"),
        (f"/ip6zone/eth0/ip6/fe80::1/tcp/1/p2p/{PEER}", "zone"),
        (f"/dns4/{'x' * 300}/tcp/1/p2p/{PEER}", "at most 255"),
        (f"/dns4/a\x1b[31m/tcp/1/p2p/{PEER}", "printable"),
        (f"/dns4/ü/tcp/1/p2p/{PEER}", "printable"),
    ],
)
def test_what_is_refused_says_why_and_shows_no_escapes(text, says):
    with pytest.raises(ValueError, match=says) as caught:
        parse_address(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


@given(st.text(max_size=300))
def test_any_text_is_refused_or_split(text):
    try:
        peer, address = parse_address(text)
    except ValueError:
        return
    assert text.endswith(peer)
    assert address.startswith("/")


def test_candidates_are_grouped_bounded_and_what_does_not_parse_is_left_out():
    texts = [f"/ip4/10.0.0.{number}/tcp/1/p2p/{PEER}" for number in range(30)]
    texts += ["junk", f"/ip4/10.1.0.1/tcp/1/p2p/{BOB.peer_id}", f"/ip4/10.1.0.1/tcp/1/p2p/{BOB.peer_id}"]
    first, second = candidates(texts, "mdns")
    assert first.peer == PEER
    assert len(first.addresses) == ADDRESSES
    assert second == Candidate(BOB.peer_id, ("/ip4/10.1.0.1/tcp/1",), "mdns")

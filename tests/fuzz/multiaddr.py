"""Addresses from people, and from TXT records of the local network."""

from __future__ import annotations

from nexusd_bootstrap.candidate import ADDRESSES, candidates, parse_address
from nexusd_bootstrap.mdns import dnsaddrs, txt_data

_PEER = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"
_TEXTS = [
    f"/ip4/192.168.1.5/tcp/4001/p2p/{_PEER}",
    f"/ip6/::1/tcp/4001/ws/p2p/{_PEER}",
    f"/dns4/example.org/tcp/443/wss/p2p/{_PEER}",
    f"/ip4/1.2.3.4/tcp/1/p2p/{_PEER}/p2p-circuit/p2p/{_PEER}",
    f"/ip4/1.2.3.4/udp/1/quic-v1/p2p/{_PEER}",
]
SEEDS = [text.encode() for text in _TEXTS] + [txt_data(_TEXTS), b"\x05hello" + txt_data(_TEXTS[:1]) + b"\xff"]


def target(data: bytes) -> None:
    texts = dnsaddrs(data)
    assert len(texts) <= ADDRESSES
    candidates(texts, "mdns")
    text = data.decode(errors="replace")
    try:
        peer, address = parse_address(text)
    except ValueError:
        return
    # what is accepted once stays what it is
    assert parse_address(f"{address}/p2p/{peer}") == (peer, address)

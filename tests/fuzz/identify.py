"""What a peer says of itself: identify, with and without a length before it."""

from __future__ import annotations

from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.utils.varint import encode_uvarint
from multiaddr import Multiaddr

from nexusd.host.identify import ADDRESSES, PROTOCOLS, TEXT_CHARS, decode

_FULL = Identify(
    agent_version="nexusd/0.1.0",
    protocols=["/ipfs/ping/1.0.0", "/meshsub/1.1.0"],
    listen_addrs=[Multiaddr("/ip4/192.0.2.1/tcp/4001").to_bytes(), Multiaddr("/ip6/::1/tcp/1/ws").to_bytes()],
).SerializeToString()

SEEDS = [_FULL, encode_uvarint(len(_FULL)) + _FULL, b"\x1a\x03\x00\x00\x80", b"\x12\x02\x04\x7f"]


def target(data: bytes) -> None:
    """A message within bounds, or ValueError."""
    try:
        said = decode(data)
    except ValueError:
        return
    assert len(said.protocols or ()) <= PROTOCOLS
    assert len(said.listen_addresses or ()) <= ADDRESSES
    for text in (said.agent_version or "", *(said.protocols or ())):
        assert len(text) <= TEXT_CHARS
        assert text.isprintable() or not text

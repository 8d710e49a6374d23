"""A peer that a source found, and the multiaddrs that lead to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from multiaddr import Multiaddr

from nexusd_protocols.identity import PeerId, parse_peer_id

ADDRESSES: Final = 16
"""Addresses kept of one peer: a host has a few interfaces times two transports; more is somebody's mistake."""
ADDRESS_CHARS: Final = 255
"""One address: what a DNS TXT string holds."""

_P2P: Final = "/p2p/"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody to try. `addresses` are multiaddrs without their trailing /p2p; nothing here was verified: the handshake
    of a connection does that. `source` is the name of the source that found it."""

    peer: PeerId
    addresses: tuple[str, ...]
    source: str


def parse_address(text: str) -> tuple[PeerId, str]:
    """Split a multiaddr that ends in /p2p/<peer id> into the peer and the address before it. Raises ValueError, saying
    what is wrong and what one looks like."""
    address, p2p, peer = text.rpartition(_P2P)
    if not p2p or not address:
        raise ValueError(f"{_shown(text)} is not a multiaddr such as /ip4/192.168.1.5/tcp/4001/p2p/12D3KooW…")
    if len(text) > ADDRESS_CHARS or not text.isascii() or not text.isprintable():
        raise ValueError(f"{_shown(text)} is not a multiaddr: at most {ADDRESS_CHARS} printable characters")
    if "/ip6zone/" in text:
        # a zone means something on the host that wrote it, and the library decodes it as another address
        raise ValueError(f"{_shown(text)}: an address with a zone is of no use to another host")
    try:
        parsed = parse_peer_id(peer)
        canonical = str(Multiaddr(address))
    except ValueError as error:
        raise ValueError(f"{_shown(text)}: {error}") from error
    if not canonical.startswith("/") or canonical == "/":
        raise ValueError(f"{_shown(text)} has no address before {_P2P}")
    return parsed, canonical


def candidates(addresses: list[str], source: str) -> list[Candidate]:
    """Candidates, a peer each, from multiaddrs that strangers wrote: what does not parse is left out."""
    found: dict[PeerId, dict[str, None]] = {}
    for text in addresses:
        try:
            peer, address = parse_address(text)
        except ValueError:
            continue
        kept = found.setdefault(peer, {})
        if len(kept) < ADDRESSES:
            kept[address] = None
    return [Candidate(peer, tuple(kept), source) for peer, kept in found.items()]


def _shown(text: str) -> str:
    return repr(text if len(text) <= ADDRESS_CHARS else text[:ADDRESS_CHARS] + "…")

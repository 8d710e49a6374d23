"""Peers in the key space: who they are, where they may be dialled, and what another may be told of that.

Addresses are binary multiaddrs, as the wire carries them. Only their first part is looked at here, which says how far
they reach (libp2p specs, kad-dht/README.md, leaves that to the implementation):

    here      loopback
    near      private and link-local networks (RFC 1918, RFC 4193, RFC 6598)
    anywhere  the rest, names included

A peer is told, and believed, only of addresses that reach at least as far as the address at which it is itself
connected: a stranger on the internet must not make this node dial into its own local network.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final

import base58

from nexusd_protocols import limits
from nexusd_protocols.identity import PeerId, parse_peer_id, peer_id_bytes

# multiaddr protocol codes (multiformats table) that an address may begin with
_IP4: Final = b"\x04"
_IP6: Final = b"\x29"
_NAMES: Final = (b"\x35", b"\x36", b"\x37", b"\x38")  # dns, dns4, dns6, dnsaddr


class Reach(IntEnum):
    """How far from its host an address means anything."""

    HERE = 0
    NEAR = 1
    ANYWHERE = 2


@dataclass(frozen=True, slots=True)
class Contact:
    """A peer and its addresses: binary multiaddrs without the peer's own /p2p."""

    peer: PeerId
    addresses: tuple[bytes, ...] = ()

    @property
    def place(self) -> int:
        """Where the peer is in the key space."""
        return place_of_peer(self.peer)


def place_of(key: bytes) -> int:
    """Where a key is in the key space: its SHA-256, as a number."""
    return int.from_bytes(hashlib.sha256(key).digest(), "big")


@lru_cache(maxsize=8192)  # the same peers are compared in every lookup
def place_of_peer(peer: PeerId) -> int:
    """Where a peer is in the key space."""
    return place_of(peer_id_bytes(peer))


def peer_of(raw: bytes) -> PeerId:
    """The peer of the bytes that messages carry. Raises ValueError for what is not an Ed25519 PeerId."""
    if len(raw) != 38:
        raise ValueError("not the PeerId of an Ed25519 key")
    return parse_peer_id(base58.b58encode(raw).decode())


def reach(address: bytes) -> Reach | None:
    """How far an address reaches, or None for one that nobody can dial: unspecified, multicast, of no known kind."""
    ip = _ip(address)
    if ip is None:
        return Reach.ANYWHERE if address[:1] in _NAMES else None
    if ip.is_unspecified or ip.is_multicast or (ip.version == 4 and ip.is_reserved):
        return None
    if ip.is_loopback:
        return Reach.HERE
    return Reach.ANYWHERE if ip.is_global else Reach.NEAR


def reaching(addresses: Iterable[bytes], least: Reach) -> tuple[bytes, ...]:
    """Those that reach at least so far, in their order, once each and within bounds."""
    fit = (
        a for a in addresses if len(a) <= limits.KAD_ADDRESS_BYTES and (how := reach(a)) is not None and how >= least
    )
    return tuple(dict.fromkeys(fit))[: limits.KAD_ADDRESSES]


def subnet(address: bytes) -> str:
    """The network whose owner could run any number of peers there: /24 of IPv4, /48 of IPv6. Empty if that means
    nothing, as for private networks and names."""
    ip = _ip(address)
    if ip is None or not ip.is_global:
        return ""
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))


@lru_cache(maxsize=8192)
def _ip(address: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if address.startswith(_IP4) and len(address) >= 5:
        return ipaddress.IPv4Address(address[1:5])
    if address.startswith(_IP6) and len(address) >= 17:
        ip = ipaddress.IPv6Address(address[1:17])
        return ip.ipv4_mapped or ip
    return None

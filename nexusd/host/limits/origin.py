"""Where a connection comes from, in the sizes that limits are made for.

An IPv4 address is one customer; of IPv6 a customer holds a /56 or so, and a site a /48. What lies in one IPv4 /24 or
IPv6 /48 is likely in one hand: it shares the blame when room must be made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address


@dataclass(frozen=True, slots=True)
class Origin:
    """`address` as text, and what it belongs to; `network` is empty for IPv4."""

    address: str
    customer: str
    network: str
    neighbourhood: str
    loopback: bool


NOWHERE = Origin("", "", "", "", loopback=True)
"""A transport that does not know the other end's address: no limit can be made for it."""


@lru_cache(maxsize=4096)
def origin_of(address: str) -> Origin:
    """The origin for an IP address as a socket gives it, perhaps with a zone. NOWHERE for what is no address."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return NOWHERE
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is None:
            site, customer = f"{ip.packed[:6].hex()}/48", f"{ip.packed[:7].hex()}/56"
            return Origin(str(ip), customer, site, site, ip.is_loopback)
        ip = ip.ipv4_mapped
    text = str(ip)
    return Origin(text, text, "", f"{text.rpartition('.')[0]}.0/24", ip.is_loopback)


def ip_of(multiaddr: str) -> str:
    """The IP address that a multiaddr begins with, empty if it has none."""
    parts = multiaddr.split("/")
    return parts[2] if len(parts) > 2 and parts[1] in ("ip4", "ip6") else ""

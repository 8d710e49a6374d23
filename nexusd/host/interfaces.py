"""This host's own addresses: what a wildcard listen address stands for."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from multiaddr.utils import get_network_addrs

AddressesOf = Callable[[int], Iterable[str]]
"""IP version (4 or 6) to the addresses of all interfaces."""


def expand(address: str, interfaces: AddressesOf = get_network_addrs) -> list[str]:
    """The addresses at which a listen address is reached: itself, or for 0.0.0.0 and :: one for each interface.

    Loopback counts only if the host has nothing else, link-local addresses never: they mean nothing without a zone.
    """
    parts = address.split("/")
    if len(parts) < 3 or parts[1] not in ("ip4", "ip6") or not ipaddress.ip_address(parts[2]).is_unspecified:
        return [address]
    found = [ipaddress.ip_address(text.partition("%")[0]) for text in interfaces(4 if parts[1] == "ip4" else 6)]
    usable = [ip for ip in found if not ip.is_link_local and not ip.is_unspecified]
    chosen = [ip for ip in usable if not ip.is_loopback] or usable
    return ["/".join(["", parts[1], str(ip), *parts[3:]]) for ip in dict.fromkeys(chosen)]

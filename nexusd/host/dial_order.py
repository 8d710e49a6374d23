"""In which order a peer's addresses are tried: what is likeliest to work, and quickest, first.

Asked for, then good last time, then near (the same host, the same subnet), then the rest; TCP before WebSocket; IPv6
and IPv4 in turn (RFC 8305 §4); what has just failed after all of these, and a relay's address last.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import zip_longest
from typing import Final

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

SUBNET_BITS: Final = {4: 24, 6: 64}
"""What is taken for one network: interfaces do not tell their masks everywhere, and most have these."""


def order(
    addresses: Iterable[str],
    *,
    asked: Collection[str] = (),
    good: str | None = None,
    own: Sequence[str] = (),
    failed: Callable[[str], bool] = lambda _address: False,
) -> list[str]:
    """The addresses, each once. `own` are this host's listen addresses: without one on loopback, a loopback address of
    a peer is hardly ours. `failed` says of which one that it is better left alone for now."""
    homes = [ip for ip in map(ip_of, own) if ip is not None]
    groups: dict[tuple[int, ...], list[str]] = {}
    for address in dict.fromkeys(addresses):
        key = (
            "/p2p-circuit" in address,
            address not in asked,
            failed(address),
            address != good,
            _distance(ip_of(address), homes),
            "/ws" in address or "/wss" in address,
        )
        groups.setdefault(key, []).append(address)
    return [address for key in sorted(groups) for address in _in_turn(groups[key])]


def ip_of(address: str) -> IPAddress | None:
    """The IP address in a multiaddr, None if it is a name or nonsense."""
    parts = address.split("/")
    if len(parts) < 3 or parts[1] not in ("ip4", "ip6"):
        return None
    try:
        return ipaddress.ip_address(parts[2])
    except ValueError:
        return None


def _distance(ip: IPAddress | None, homes: Sequence[IPAddress]) -> int:
    """0 near, 1 anywhere, 2 hardly reachable from here."""
    if ip is None:
        return 1
    if ip.is_loopback:
        return 0 if any(home.is_loopback or home.is_unspecified for home in homes) else 2
    if ip.is_link_local or ip.is_unspecified:
        return 2
    shift = ip.max_prefixlen - SUBNET_BITS[ip.version]
    return int(not any(home.version == ip.version and int(home) >> shift == int(ip) >> shift for home in homes))


def _in_turn(addresses: Sequence[str]) -> list[str]:
    """IPv6 first, the families in turn; names go with IPv6, which they may have."""
    six = [address for address in addresses if not address.startswith(("/ip4/", "/dns4/"))]
    four = [address for address in addresses if address.startswith(("/ip4/", "/dns4/"))]
    return [address for pair in zip_longest(six, four) for address in pair if address is not None]

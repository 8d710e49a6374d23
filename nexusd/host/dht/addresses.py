"""Addresses as text, which the dialler takes, and as bytes, which Kademlia's messages carry."""

from __future__ import annotations

from collections.abc import Iterable

from multiaddr import Multiaddr

from nexusd_protocols.identity import PeerId
from nexusd_protocols.kad.contact import Reach, reach, subnet


def to_bytes(addresses: Iterable[str], peer: PeerId) -> tuple[bytes, ...]:
    """Binary addresses, without the peer's own /p2p; what is no multiaddr is left out."""
    found = []
    for text in addresses:
        try:
            found.append(Multiaddr(text.removesuffix(f"/p2p/{peer}")).to_bytes())
        except Exception:  # noqa: S112 - multiaddr raises errors of its own and of its codecs
            continue
    return tuple(dict.fromkeys(found))


def to_text(addresses: Iterable[bytes], peer: PeerId) -> tuple[str, ...]:
    """Addresses to dial; what is of an unknown kind is left out."""
    found = []
    for raw in addresses:
        try:
            found.append(str(Multiaddr(raw)).removesuffix(f"/p2p/{peer}"))
        except Exception:  # noqa: S112 - as above
            continue
    return tuple(dict.fromkeys(text for text in found if text))


def place_of_connection(remote: str) -> tuple[Reach, str]:
    """How far the address of a connection reaches, and its subnet. Where the address is not known (a relayed
    connection), as if it came from anywhere."""
    try:
        raw = Multiaddr(remote).to_bytes()
    except Exception:
        # multiaddr raises errors of its own and of its codecs
        return Reach.ANYWHERE, ""
    how = reach(raw)
    return (Reach.ANYWHERE if how is None else how), subnet(raw)

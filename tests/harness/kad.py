"""Peers, keys and addresses for tests of Kademlia."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from functools import cache

from nexusd_protocols.identity import PeerId, peer_id_of
from nexusd_protocols.kad.contact import Contact

PROVIDED = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
"""A CID of `PROVIDED_KEY`."""
PROVIDED_KEY = bytes.fromhex("1220c7d01489080858c500065836c658f847a6ca67c4864619212be4f8200e4bbace")


class Numbered:
    """A schema: records are numbers; the highest wins."""

    def validate(self, key: str, value: bytes) -> None:
        if not value.isdigit():
            raise ValueError("not a number")

    def select(self, key: str, values: Sequence[bytes]) -> int:
        return max(range(len(values)), key=lambda index: int(values[index]))

    def valid_until(self, key: str, value: bytes) -> int | None:
        return None


@cache
def peer(number: int) -> PeerId:
    """A peer, always the same; nobody holds its key."""
    return peer_id_of(hashlib.sha256(b"kad %d" % number).digest())


def tcp(ip: str, port: int = 4001) -> bytes:
    """/ip4 or /ip6, /tcp: binary."""
    address = ipaddress.ip_address(ip)
    return (b"\x04" if address.version == 4 else b"\x29") + address.packed + b"\x06" + port.to_bytes(2, "big")


def contact(number: int, ip: str | None = None) -> Contact:
    """A peer in a network of its own, unless told otherwise."""
    return Contact(peer(number), (tcp(ip or f"{20 + number // 250 % 100}.{number % 250}.1.1"),))

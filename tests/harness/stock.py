"""Hosts as py-libp2p makes them."""

from __future__ import annotations

from typing import Any

from libp2p import create_identity_from_seed, create_new_x25519_key_pair, new_host
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport

from nexusd.host.autoconnect import dial_nobody
from tests.harness.nodes import signer


def stock_host(name: str, **options: Any) -> Any:
    """For Noise alone unless told otherwise. It dials when it is told to: what one dials by itself while it closes
    leaves a socket open, and whatever test runs when that is found out fails."""
    keys = create_identity_from_seed(signer(name).seed())
    noise = {NOISE: NoiseTransport(keys, noise_privkey=create_new_x25519_key_pair().private_key)}
    host = new_host(key_pair=keys, **({"sec_opt": noise} | options))
    dial_nobody(host.get_network())
    return host

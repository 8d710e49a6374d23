"""Fault C4: a stock host accepts /plaintext/2.0.0 and /secio/1.0.0, where a dialler may claim any public key.

So the upgrader is built here, with Noise alone (libp2p specs, noise/README.md) over Ed25519, and Yamux alone above it.
"""

from __future__ import annotations

from libp2p import create_identity_from_seed, create_new_x25519_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.custom_types import TProtocol
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.upgrader import TransportUpgrader

from nexusd_protocols.identity import Signer


def key_pair_of(signer: Signer) -> KeyPair:
    """The node's key in libp2p's form; its PeerId is the signer's."""
    return create_identity_from_seed(signer.seed())


def noise_only(keys: KeyPair, negotiate_timeout: int) -> TransportUpgrader:
    """Turns a byte stream into an authenticated, multiplexed connection, or refuses it. Timeout in seconds."""
    noise = NoiseTransport(keys, noise_privkey=create_new_x25519_key_pair().private_key)
    return TransportUpgrader({NOISE: noise}, {TProtocol(YAMUX): Yamux}, negotiate_timeout)

"""Fault C4: a stock host accepts /plaintext/2.0.0 and /secio/1.0.0, where a dialler may claim any public key.

So the upgrader is built here, with Noise alone (libp2p specs, noise/README.md) over Ed25519, and Yamux alone above it,
both of our own.
"""

from __future__ import annotations

from libp2p import create_identity_from_seed
from libp2p.crypto.keys import KeyPair
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.transport.upgrader import TransportUpgrader

from nexusd.host.noise import NoiseSecurity
from nexusd.host.yamux import Charge, Serve, YamuxMuxer
from nexusd_protocols.identity import Signer
from nexusd_protocols.yamux.bounds import Bounds
from nexusd_protocols.yamux.budget import Budget


def key_pair_of(signer: Signer) -> KeyPair:
    """The node's key in libp2p's form; its PeerId is the signer's."""
    return create_identity_from_seed(signer.seed())


def noise_only(
    keys: KeyPair,
    negotiate_timeout: int,
    budget: Budget,
    charge: Charge,
    serve: Serve | None = None,
    bounds: Bounds | None = None,
) -> TransportUpgrader:
    """Turns a byte stream into an authenticated, multiplexed connection, or refuses it. Timeout in seconds; `budget`
    bounds what all connections hold unread, `bounds` what each may do; `charge` is told what a peer did wrong; `serve`
    carries peers' streams."""
    upgrader = TransportUpgrader({NOISE: NoiseSecurity(keys)}, {}, negotiate_timeout)
    upgrader.muxer_multistream = YamuxMuxer(budget, charge, negotiate_timeout, bounds, serve)
    return upgrader

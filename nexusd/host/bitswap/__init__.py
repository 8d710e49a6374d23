"""Blocks from and for others: `/ipfs/bitswap/1.2.0`. (protocols/specs/bitswap.md)

    in:  router -> Exchange._read -> client machine -> Session.get
                                  -> server machine -> line: look, fetch, send
    out: Session.get -> client machine -> line: wants

Not py-libp2p's module: it answers on the stream of the question, which js-bitswap does not read.
"""

from nexusd.host.bitswap.exchange import Exchange
from nexusd.host.bitswap.line import PROTOCOL

__all__ = ["PROTOCOL", "Exchange"]

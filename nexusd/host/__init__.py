"""The host: py-libp2p lives here and nowhere else.

`ports` is what the rest of the daemon sees. `node` is the real thing; simulations run the same code over an in-memory
transport.
"""

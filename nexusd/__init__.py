"""The nexus mesh daemon. `nexusd.client` is the SDK; everything else is the daemon's own."""

__version__ = "0.1.0"

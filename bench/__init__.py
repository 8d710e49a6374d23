"""Measurements: two daemons on loopback, and beside each the same work between two js-libp2p peers in the same run."""

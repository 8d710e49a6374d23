"""Metrics of the daemon, in the text format of Prometheus."""

from nexusd.services.metrics.families import Gossip, Sources, Storage
from nexusd.services.metrics.loop_lag import LoopLag
from nexusd.services.metrics.service import Metrics

__all__ = ["Gossip", "LoopLag", "Metrics", "Sources", "Storage"]

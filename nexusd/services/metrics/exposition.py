"""Metrics as text, by Prometheus's own library: it knows what must be escaped.

Imported in the thread that needs it first: the daemon starts without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from nexusd.services.metrics.families import LOOP_LAG, LOOP_LAG_HELP, Family


class _Reading(Collector):
    """What was read before, so that the thread asks nobody."""

    def __init__(self, families: Sequence[Family], lag: Sequence[tuple[str, float]], lag_total: float) -> None:
        self._families = families
        self._lag = lag
        self._lag_total = lag_total

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            kind = GaugeMetricFamily if family.kind == "gauge" else CounterMetricFamily
            metric = kind(family.name, family.help, labels=family.labels)
            for labels, value in family.samples:
                metric.add_metric(labels, value)
            yield metric
        lag = HistogramMetricFamily(LOOP_LAG, LOOP_LAG_HELP, labels=())
        lag.add_metric((), list(self._lag), self._lag_total)
        yield lag


def exposition(families: Iterable[Family], lag: Sequence[tuple[str, float]], lag_total: float) -> str:
    """Text format 0.0.4, with figures of the process where the system tells them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Reading(tuple(families), lag, lag_total))
    ProcessCollector(registry=registry)
    return generate_latest(registry).decode()

"""Two sessions, joined by a scheduler, that go on until all is delivered."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.unit.protocols.yamux.two_machines import TwoMachines

TestTwoMachines = TwoMachines.TestCase
TestTwoMachines.settings = settings(stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck))

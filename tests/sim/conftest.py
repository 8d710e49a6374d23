import pytest
from trio.testing import MockClock

from tests.harness.worktime import work_clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """For whole daemons, whose disks are real."""
    return work_clock(monkeypatch)

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nexusd.store import Store
from tests.harness.disk import PowerCutDisk
from tests.harness.stores import opened


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path / "store.sqlite") as store:
        yield store


@pytest.fixture
def disk():
    with PowerCutDisk("nexusd-test-disk") as disk:
        yield disk

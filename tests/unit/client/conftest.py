"""A door over fake services for every test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.door import Door, open_door


@pytest.fixture
def path(tmp_path: Path) -> Path:
    directory = tmp_path / "d"
    directory.mkdir(mode=0o700)
    return directory / "nexusd.sock"


@pytest.fixture
async def door(path: Path) -> AsyncIterator[Door]:
    async with open_door(path) as door:
        yield door

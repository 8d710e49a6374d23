"""The power goes, the disk fills, bits flip: what was acknowledged is there then, and nothing wrong is given out."""

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked `soak` takes minutes."""
    if os.environ.get("NEXUS_TEST_SOAK"):
        return
    left_out = [item for item in items if item.get_closest_marker("soak")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]

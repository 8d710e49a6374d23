"""How much a run tries, and what it wastes no time on."""

from __future__ import annotations

import gc
from collections.abc import Generator

import pytest
from hypothesis import settings

# without a deadline for one example: two cores are shared with the rest of the run
settings.register_profile("full", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=10)  # of `make check`
settings.load_profile("full")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported stays: the garbage collector need not look through it while it comes, nor ever after."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()

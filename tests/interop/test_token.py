"""The test token is what its source says."""

from __future__ import annotations

from tests.harness import vyper
from tests.harness.localchain import RUNTIME


def test_the_committed_code_is_what_the_source_compiles_to():
    vyper.require()
    assert vyper.runtime(RUNTIME.with_suffix(".vy")) == RUNTIME.read_text().strip()

"""Every fuzz target over its seeds and a hundred mutations, or some thousand: `python -m tests.fuzz` looks longer."""

from __future__ import annotations

import itertools
import sys

import pytest

from tests.fuzz import inputs

SEED = 20260


@pytest.mark.parametrize("mutations", [100, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", inputs.names())
def test_a_target_takes_anything(name, mutations):
    target = inputs.load(name)
    assert target.seeds, "a target without seeds starts from nothing"
    for seed in target.seeds:
        target.run(seed)
    for number, data in enumerate(itertools.islice(inputs.mutations(target.seeds, SEED), mutations)):
        try:
            target.run(data)
        except Exception:
            print(f"seed {SEED}, mutation {number}: {data[:2000]!r}", file=sys.stderr)
            raise


def test_mutations_are_the_same_for_the_same_seed():
    def some(seed):
        return list(itertools.islice(inputs.mutations([b"hello", b"world"], seed), 50))

    assert some(1) == some(1)
    assert some(1) != some(2)
    assert len(set(some(1))) > 40

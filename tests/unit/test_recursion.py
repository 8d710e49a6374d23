"""No library may take the bound off this process's recursion: deep JSON would end it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nexusd.recursion import limit_kept

DEEP = 'b"[" * 1_000_000'


def test_the_limit_holds_again_afterwards():
    before = sys.getrecursionlimit()
    with limit_kept():
        sys.setrecursionlimit(before + 1)
    assert sys.getrecursionlimit() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "imported",
    [
        "from nexusd.chain.rpc import _encoder as loaded; loaded()",
        "from nexusd.services.payments.wallet import _keystores as loaded; loaded()",
    ],
    ids=["chain", "wallet"],
)
def test_what_payments_import_leaves_it(imported):
    program = (
        f"import sys; before = sys.getrecursionlimit(); {imported}\n"
        "assert 'py_ecc' in sys.modules, 'it is imported no more: the guard may go'\n"
        "assert sys.getrecursionlimit() == before"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)


def test_deep_json_is_refused_whatever_the_limit():
    program = (
        "import sys; sys.setrecursionlimit(100_000)\n"
        "from nexusd_protocols import ndjson\n"
        f"try: ndjson.value({DEEP})\n"
        "except ValueError: sys.exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 7

"""How deep this process recurses, whatever libraries think of it.

py_ecc, which web3 and eth-account import, raises the interpreter's limit to 100,000 for the whole process; a decoder in
C that is fed brackets then runs off its stack and takes the process along, where it would have raised RecursionError.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def limit_kept() -> Iterator[None]:
    """Import within it what may raise the limit: the one of before holds again afterwards."""
    before = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(before)

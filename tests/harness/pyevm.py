"""eth-tester over py-evm as a chain of our own: for where anvil is missing, and a second opinion where it is not."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from nexusd_protocols.payments.tokens import Token
from tests.harness.localchain import TOKEN, LocalChain

STOCK_CHAIN_ID: Final = 131277322940537
"""Where eth-tester makes its chains."""
STOCK_TOKEN: Final = replace(TOKEN, chain_id=STOCK_CHAIN_ID)
"""A token that only configuration knows, on a chain of another id: its signatures are others than those for Base."""


class PyEvmUnavailableError(Exception):
    """It is not installed. The message says so."""


def install() -> None:
    """It comes with the tests' other packages. Raises PyEvmUnavailableError."""
    for module in ("eth", "eth_tester"):
        if importlib.util.find_spec(module) is None:
            raise PyEvmUnavailableError("py-evm and eth-tester are not installed: run `make setup`")


class PyEvm(LocalChain):
    """Transactions get their blocks at once, one after the other: nothing waits, and nothing is replaced."""

    name: ClassVar = "py-evm"
    pools: ClassVar = False

    def __init__(self, directory: Path, *, token: Token = STOCK_TOKEN) -> None:
        argv = [sys.executable, "-m", "tests.harness.pyevm_node", str(token.chain_id)]
        super().__init__(argv, directory / "py-evm.log", token, cwd=Path(__file__).resolve().parents[2])

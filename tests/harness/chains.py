"""Which chains of our own there are: anvil, which is the main one, and py-evm.

What is asked of both is tested on both. What is asked of some chain runs on anvil, and where there is no npm to bring
it, on py-evm.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from nexusd_protocols.payments.tokens import Token
from tests.harness import anvil, pyevm
from tests.harness.anvil import Anvil
from tests.harness.js import JsUnavailableError
from tests.harness.localchain import TOKEN, LocalChain
from tests.harness.pyevm import PyEvm, PyEvmUnavailableError

BOTH: Final = ("anvil", "py-evm")

_INSTALL: Final[dict[str, Callable[[], None]]] = {"anvil": anvil.install, "py-evm": pyevm.install}


def require(name: str) -> None:
    """Skip the test where this chain is not; fail where NEXUS_TEST_REQUIRE=all says that it must be."""
    try:
        _INSTALL[name]()
    except (JsUnavailableError, PyEvmUnavailableError) as error:
        if os.environ.get("NEXUS_TEST_REQUIRE") == "all":
            pytest.fail(f"NEXUS_TEST_REQUIRE=all, but {error}")
        pytest.skip(str(error))


def start(name: str, directory: Path) -> LocalChain:
    """This one, with its own token."""
    require(name)
    return Anvil(directory) if name == "anvil" else PyEvm(directory)


def some(directory: Path, *, token: Token = TOKEN, block_s: float | None = None) -> LocalChain:
    """A chain with that token and its chain id. anvil makes a block each `block_s`, if that is said, and else both do
    with each transaction."""
    try:
        anvil.install()
    except JsUnavailableError:
        if os.environ.get("NEXUS_TEST_REQUIRE") == "all":
            require("anvil")
        require("py-evm")
        return PyEvm(directory, token=token)
    return Anvil(directory, *(() if block_s is None else ("--block-time", str(block_s))), token=token)

"""anvil as a chain of our own, taken for Base: chain id 8453, the token at USDC's address. It is the main one."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

from nexusd.chain import multicall3
from nexusd_protocols.payments.tokens import Token
from tests.harness import js
from tests.harness.localchain import TOKEN, LocalChain

FOLDER: Final = js.INTEROP / "anvil"
BINARY: Final = FOLDER / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"

_MULTICALL3: Final = bytes.fromhex("6080604052600436106100f35760003560e01c80634d2301cc")
_MULTICALL3_BYTES: Final = 3808


def multicall3_code() -> bytes:
    """The code of Multicall3, which anvil has in its program for calls of its own. Which bytes are the right ones is
    said by their hash."""
    program = BINARY.read_bytes()
    start = program.find(_MULTICALL3)
    code = program[start : start + _MULTICALL3_BYTES]
    assert multicall3.is_code(code), "this anvil does not have it"
    return code


def install() -> None:
    """Bring it in, once. Raises JsUnavailableError."""
    js.install(FOLDER)
    if not BINARY.exists():
        raise js.JsUnavailableError("anvil comes for Linux on x86-64 only")


class Anvil(LocalChain):
    """It has a pool of transactions that wait, and more that a test can meddle with."""

    name: ClassVar = "anvil"
    pools: ClassVar = True

    def __init__(self, directory: Path, *options: str, token: Token = TOKEN) -> None:
        argv = [str(BINARY), "--port", "0", "--chain-id", str(token.chain_id), "--accounts", "1", *options]
        super().__init__(argv, directory / "anvil.log", token)

    def put_multicall3(self) -> None:
        """Where it is on the chains that have it."""
        self.set_code(multicall3.ADDRESS, multicall3_code())

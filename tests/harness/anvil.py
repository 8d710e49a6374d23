"""anvil as a chain of our own, taken for Base: chain id 8453, the token at USDC's address. It is the main one."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

from nexusd_protocols.payments.tokens import Token
from tests.harness import js
from tests.harness.localchain import TOKEN, LocalChain

FOLDER: Final = js.INTEROP / "anvil"
BINARY: Final = FOLDER / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"


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

"""What tests ask of a chain of their own, whichever program runs it: a process that answers JSON-RPC over HTTP, with a
token that keeps USDC's rules at its address.

Everything here blocks. Blocks are made as transactions come, unless `mining(False)`.
"""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from eth_abi import encode

from nexusd.chain import eip3009
from nexusd.chain.evm import EvmChain
from nexusd_protocols.payments import eip712, tokens, transaction
from nexusd_protocols.payments.address import Address, checksummed
from nexusd_protocols.payments.authorization import Account, Authorization
from nexusd_protocols.payments.tokens import Token
from nexusd_protocols.payments.transaction import Fees
from tests.harness.process import LineProcess, poll

RUNTIME: Final = Path(__file__).resolve().parents[1] / "fixtures" / "token" / "Eip3009Token.hex"
TOKEN: Final = tokens.USDC_BASE
ETHER: Final = 10**18
GWEI: Final = 10**9


class RpcError(AssertionError):
    """The chain answered with an error."""


class LocalChain:
    """A process, and what tests ask of it. `token` is at its address there."""

    name: ClassVar[str]
    pools: ClassVar[bool]
    """Whether it has a pool of transactions that wait."""

    def __init__(self, argv: Sequence[str], log: Path, token: Token, cwd: Path | None = None) -> None:
        self.token = token
        self._ids = itertools.count(1)
        self._mines = True
        self.process = LineProcess(argv, log=log, cwd=cwd)
        try:
            line = self.process.expect(lambda line: line if line.startswith("Listening on") else None, "the chain")
            self.port = int(line.rsplit(":", 1)[1])
            self.minter: str = self.call("eth_accounts")[0]
            self.set_code(token.address, bytes.fromhex(RUNTIME.read_text().strip()[2:]))
            self.transact("initialize(string,string,string)", token.name, token.symbol, token.version)
        except BaseException:
            self.process.kill9()
            raise

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill9()

    @contextmanager
    def connected(self, url: str = "") -> Iterator[EvmChain]:
        """As a daemon has it that knows the token; through another node if that is said."""
        chain = EvmChain(self.token.chain_id, url or self.url, [self.token])
        try:
            yield chain
        finally:
            chain.close()

    # --- the chain ----------------------------------------------------------------------------------------------------
    def call(self, method: str, *params: Any) -> Any:
        """Raises RpcError."""
        body = json.dumps({"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in answer:
            raise RpcError(f"{method}: {answer['error']}")
        return answer["result"]

    def mine(self, blocks: int = 1, every_s: int = 1) -> None:
        self.call("anvil_mine", hex(blocks), hex(every_s))

    def mining(self, on: bool) -> None:
        """Whether each transaction gets a block at once."""
        self.call("evm_setAutomine", on)
        self._mines = on

    def snapshot(self) -> str:
        return self.call("evm_snapshot")

    def revert(self, snapshot: str) -> None:
        """Undo all since then, as a reorganisation does."""
        assert self.call("evm_revert", snapshot)

    def drop(self, transaction: str) -> None:
        """Forget a transaction that waits."""
        self.call("anvil_dropTransaction", transaction)

    @property
    def time(self) -> int:
        return int(self.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    @property
    def number(self) -> int:
        return int(self.call("eth_blockNumber"), 16)

    def forward(self, seconds: int) -> None:
        """Let time pass, and make a block."""
        self.call("evm_increaseTime", hex(seconds))
        self.mine()

    def nonce(self, account: Address, tag: str = "latest") -> int:
        return int(self.call("eth_getTransactionCount", checksummed(account), tag), 16)

    def fund(self, account: Address, wei: int = ETHER) -> None:
        """Money for gas."""
        self.call("anvil_setBalance", checksummed(account), hex(wei))

    def set_code(self, address: Address, code: bytes) -> None:
        self.call("anvil_setCode", checksummed(address), f"0x{code.hex()}")

    # --- the token ----------------------------------------------------------------------------------------------------
    def mint(self, owner: Address, amount: int) -> None:
        self.transact("mint(address,uint256)", bytes(owner), amount)

    def pause(self, paused: bool) -> None:
        self.transact("setPaused(bool)", paused)

    def balance(self, owner: Address) -> int:
        call = {"to": self.token.asset, "data": f"0x{eip3009.balance_of(owner).hex()}"}
        return int(self.call("eth_call", call, "latest"), 16)

    def transact(self, signature: str, *values: Any, sender: Account | None = None) -> str:
        """Call the token and wait for the block. Returns the transaction's hash."""
        kinds = signature[signature.index("(") + 1 : -1].split(",")
        return self.transmit(eip3009.selector(signature) + encode(kinds, values), sender)

    def transmit(self, data: bytes, sender: Account | None = None) -> str:
        """The same with a call that is made already. Fails where it reverts."""
        name = self._minted(data) if sender is None else self._sent(data, sender)
        if not self._mines:
            self.mine()
        receipt = poll(lambda: self.call("eth_getTransactionReceipt", name), "the block", every=0.005)
        if receipt["status"] != "0x1":
            raise RpcError("the transaction reverted")
        return name

    def _minted(self, data: bytes) -> str:
        call = {"from": self.minter, "to": self.token.asset, "data": f"0x{data.hex()}", "gas": hex(1_000_000)}
        return self.call("eth_sendTransaction", call)

    def _sent(self, data: bytes, sender: Account) -> str:
        made = transaction.sign(
            sender,
            chain_id=self.token.chain_id,
            nonce=self.nonce(sender.address),
            fees=Fees(20 * GWEI, GWEI),
            gas=1_000_000,
            to=self.token.address,
            data=data,
        )
        return self.call("eth_sendRawTransaction", f"0x{made.raw.hex()}")

    def pay(self, authorization: Authorization, signature: bytes) -> str:
        """Show the authorisation to the token from somebody else's account, as anybody may."""
        return self.transmit(eip3009.transfer_with_authorization(authorization, signature))

    def cancel(self, account: Account, nonce: bytes) -> str:
        """The payer takes an authorisation back."""
        fields = (("authorizer", "address"), ("nonce", "bytes32"))
        struct = eip712.struct_hash("CancelAuthorization", fields, {"authorizer": account.address, "nonce": nonce})
        signature = account.sign_digest(eip712.digest(self.token.domain_separator, struct))
        return self.transact(
            "cancelAuthorization(address,bytes32,uint8,bytes32,bytes32)",
            bytes(account.address),
            nonce,
            signature[64],
            signature[:32],
            signature[32:64],
        )

    def logs(self, topic: bytes) -> list[dict[str, Any]]:
        """All of the token's logs of a kind."""
        filter_ = {"fromBlock": "0x0", "toBlock": "latest", "address": self.token.asset, "topics": [f"0x{topic.hex()}"]}
        return self.call("eth_getLogs", filter_)

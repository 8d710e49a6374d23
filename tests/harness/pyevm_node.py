"""eth-tester over py-evm as a JSON-RPC node. Runs as a process of its own:

    python -m tests.harness.pyevm_node CHAIN_ID

Prints `Listening on 127.0.0.1:PORT`. Requests come alone or in batches, with parameters in hexadecimal as nodes want
them: web3's middleware for eth-tester turns them into what eth-tester takes. What tests do to a chain is called what
anvil calls it. Each transaction gets a block at once; there is no pool.
"""

from __future__ import annotations

import http.server
import json
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from eth.vm.state import BaseState
from eth_tester import EthereumTester, PyEVMBackend
from eth_utils import to_canonical_address
from web3 import Web3
from web3.providers.eth_tester import EthereumTesterProvider
from web3.types import RPCEndpoint

GENESIS: Final = b"\0" * 32
ZERO: Final = f"0x{'00' * 20}"
GAS: Final = 10_000_000
DEPTH: Final = {"safe": 32, "finalized": 64}
"""Blocks, as anvil has it."""


class RevertedError(Exception):
    """A call that a contract refused; with what it gave as its reason, in hexadecimal."""


class Node:
    """The chain, and what it answers."""

    def __init__(self, chain_id: int) -> None:
        self._backend = PyEVMBackend()
        self._backend.chain.chain_id = chain_id  # of the instance: the class has eth-tester's own
        provider = EthereumTesterProvider(EthereumTester(self._backend))
        web3 = Web3(provider, middleware=[])  # none that turns answers into objects of Python
        self._ask = provider.request_func(web3, web3.middleware_onion)
        self._later_s = 0
        self._own: dict[str, Callable[..., Any]] = {
            "eth_chainId": lambda: chain_id,
            "eth_call": self._call,
            "anvil_mine": lambda blocks, every_s: self._mine(int(blocks, 16), int(every_s, 16)),
            "anvil_setBalance": lambda name, wei: self._change(
                lambda state: state.set_balance(to_canonical_address(name), int(wei, 16))
            ),
            "anvil_setCode": lambda name, code: self._change(
                lambda state: state.set_code(to_canonical_address(name), bytes.fromhex(code[2:]))
            ),
            "evm_increaseTime": self._forward,
            "evm_snapshot": lambda: f"0x{self._head.hash.hex()}",
            "evm_revert": self._revert,
        }

    def answer(self, call: Any) -> dict[str, Any]:
        """To one call."""
        id_ = call.get("id")
        try:
            part = self._answer(call["method"], call.get("params", []))
        except RevertedError as error:
            part = {"error": {"code": 3, "message": "execution reverted", "data": str(error)}}
        except Exception as error:  # whatever it is, the others are answered
            part = {"error": {"code": -32000, "message": f"{type(error).__name__}: {error}"}}
        return {"jsonrpc": "2.0", "id": id_, **part}

    def _answer(self, method: str, params: list[Any]) -> dict[str, Any]:
        own = self._own.get(method)
        if own is not None:
            return {"result": _hexadecimal(own(*params))}
        if method == "eth_getBlockByNumber" and params[0] in DEPTH:  # to eth-tester each block is both
            params = [hex(max(0, self._head.block_number - DEPTH[params[0]])), *params[1:]]
        found = self._ask(RPCEndpoint(method), params)
        return {"error": found["error"]} if "error" in found else {"result": _hexadecimal(found["result"])}

    def _call(self, call: dict[str, str], _tag: str) -> bytes:
        """As nodes do it, at no price: eth-tester wants the caller to have the money for all gas of a block."""
        sender, to = (to_canonical_address(call.get(name, ZERO)) for name in ("from", "to"))
        vm = self._backend.chain.get_vm(at_header=self._head)
        done = vm.execute_bytecode(
            origin=sender,
            gas_price=0,
            gas=GAS,
            to=to,
            sender=sender,
            value=0,
            data=bytes.fromhex(call["data"][2:]),
            code=vm.state.get_code(to),
        )
        if done.is_error:
            raise RevertedError(f"0x{done.output.hex()}")
        return done.output

    # --- what tests do to a chain -------------------------------------------------------------------------------------
    @property
    def _head(self) -> Any:
        """The header of the newest block; `chain.header` is that of the one to come."""
        chain = self._backend.chain
        return chain.get_canonical_block_header_by_number(chain.header.block_number - 1)

    def _mine(self, blocks: int, every_s: int) -> None:
        chain = self._backend.chain
        for _ in range(blocks):
            time_s = self._head.timestamp + every_s + self._later_s
            self._later_s = 0
            chain.header = chain.header.copy(timestamp=time_s)
            self._backend.mine_blocks()

    def _forward(self, seconds: str) -> None:
        self._later_s += int(seconds, 16)

    def _change(self, change: Callable[[BaseState], object]) -> None:
        """The state, by no transaction."""
        chain = self._backend.chain
        state = chain.get_vm().state
        change(state)
        state.persist()
        chain.header = chain.header.copy(state_root=state.state_root)
        self._backend.mine_blocks()

    def _revert(self, snapshot: str) -> bool:
        """eth-tester's own way works on the block again, which would not end where `_change` did."""
        chain = self._backend.chain
        header = chain.get_block_header_by_hash(bytes.fromhex(snapshot[2:]))
        chain.chaindb._set_as_canonical_chain_head(chain.chaindb.db, header, GENESIS)
        chain.header = chain.create_header_from_parent(header)
        return True


def _hexadecimal(value: Any) -> Any:
    """Numbers and bytes as nodes write them."""
    if isinstance(value, dict):
        return {name: _hexadecimal(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_hexadecimal(part) for part in value]
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    return hex(value) if type(value) is int else value


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection, kept between requests."""

    protocol_version = "HTTP/1.1"
    node: Node
    turn = threading.Lock()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.turn:
            answer = [self.node.answer(call) for call in asked] if isinstance(asked, list) else self.node.answer(asked)
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_: object) -> None:
        """Nothing of what went well."""


def main() -> None:
    Handler.node = Node(int(sys.argv[1]))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"Listening on 127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

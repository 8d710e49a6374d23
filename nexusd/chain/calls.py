"""What a node is asked about tokens and accounts, as JSON-RPC calls. Pure."""

from __future__ import annotations

from typing import Any, Final

from nexusd.chain import eip3009
from nexusd.chain.rpc import Call
from nexusd_protocols.payments.address import Address, checksummed
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.tokens import Token

CHAIN_ID: Final = Call("eth_chainId")


def read(token: Token, call: bytes) -> Call:
    """What a token's contract answers to `call`."""
    return Call("eth_call", ({"to": token.asset, "data": hexadecimal(call)}, "latest"))


def state(token: Token, authorization: Authorization) -> Call:
    """Whether an authorisation is used, or cancelled."""
    return read(token, eip3009.authorization_state(authorization.from_, authorization.nonce))


def simulate(token: Token, authorization: Authorization, signature: bytes) -> Call:
    """Whether the transfer would go through now."""
    call: dict[str, Any] = {
        "from": checksummed(authorization.to),
        "to": token.asset,
        "data": hexadecimal(eip3009.transfer_with_authorization(authorization, signature)),
    }
    return Call("eth_call", (call, "latest"))


def code(address: Address) -> Call:
    """Of a contract; nothing of another account."""
    return Call("eth_getCode", (checksummed(address), "latest"))


def gas(address: Address) -> Call:
    """What it has of the network's own coin."""
    return Call("eth_getBalance", (checksummed(address), "latest"))


def block(tag: str) -> Call:
    """Without its transactions."""
    return Call("eth_getBlockByNumber", (tag, False))


def hexadecimal(raw: bytes) -> str:
    """Bytes as JSON-RPC has them."""
    return f"0x{raw.hex()}"

"""What a token with transfers by authorisation (EIP-3009) is called with, and what its logs say. Pure.

Calls are a selector and 32-byte words, so that no ABI library is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.eip712 import keccak256


def selector(signature: str) -> bytes:
    """The first four bytes of a call, from `name(type,…)`."""
    return keccak256(signature.encode())[:4]


def topic(signature: str) -> bytes:
    """The first topic of an event's logs."""
    return keccak256(signature.encode())


_BALANCE_OF: Final = selector("balanceOf(address)")
_STATE: Final = selector("authorizationState(address,bytes32)")
_TRANSFER: Final = selector(
    "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
)
DOMAIN_SEPARATOR: Final = selector("DOMAIN_SEPARATOR()")

USED: Final = topic("AuthorizationUsed(address,bytes32)")
CANCELED: Final = topic("AuthorizationCanceled(address,bytes32)")
TRANSFER: Final = topic("Transfer(address,address,uint256)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One entry of a receipt, or an answer of eth_getLogs. `index` is its place in the block."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    transaction: str
    block: int
    index: int


def balance_of(owner: Address) -> bytes:
    """Answers a uint256."""
    return _BALANCE_OF + address_word(owner)


def authorization_state(payer: Address, nonce: bytes) -> bytes:
    """Answers a bool: used or cancelled."""
    return _STATE + address_word(payer) + nonce


def transfer_with_authorization(authorization: Authorization, signature: bytes) -> bytes:
    """Moves the money, or reverts. `signature` is r | s | v."""
    return b"".join(
        (
            _TRANSFER,
            address_word(authorization.from_),
            address_word(authorization.to),
            uint_word(authorization.value),
            uint_word(authorization.valid_after),
            uint_word(authorization.valid_before),
            authorization.nonce,
            uint_word(signature[64]),
            signature[:64],
        )
    )


def address_word(address: bytes) -> bytes:
    """An address as an argument or a topic."""
    return bytes(12) + address


def uint_word(number: int) -> bytes:
    """A uint256."""
    return number.to_bytes(32, "big")


def end_of(authorization: Authorization, token: Address, logs: Iterable[Log]) -> Log | None:
    """The log that says that the authorisation was used or cancelled, if it is among `logs`."""
    wanted = (address_word(authorization.from_), authorization.nonce)
    for log in logs:
        if log.address == token and log.topics[:1] in ((USED,), (CANCELED,)) and log.topics[1:] == wanted:
            return log
    return None


def paid(authorization: Authorization, token: Address, logs: Iterable[Log]) -> int | None:
    """What the payee got by this authorisation, from logs of the transaction that used it. None: they do not say that
    it was used.

    The contract logs the use and then the transfer, so that the next log of the token's after the one is the other,
    whatever else a transaction does.
    """
    own = sorted((log for log in logs if log.address == token), key=lambda log: log.index)
    used = end_of(authorization, token, own)
    if used is None or used.topics[0] != USED:
        return None
    after = next((log for log in own if log.transaction == used.transaction and log.index > used.index), None)
    wanted = (TRANSFER, address_word(authorization.from_), address_word(authorization.to))
    if after is None or after.topics != wanted or len(after.data) != 32:
        return 0
    return int.from_bytes(after.data, "big")

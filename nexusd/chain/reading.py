"""What a node's answers say, read strictly: whatever has another form is a ChainError."""

from __future__ import annotations

import re
from typing import Any, Final

from nexusd.chain.eip3009 import Log
from nexusd.chain.rpc import DETAIL_CHARS, Answer, Refused, data, quantity, record
from nexusd.chain.views import ChainError, Head, Receipt, SendResult, Sent
from nexusd_protocols.payments.address import read_address

LOGS: Final = 1000
"""In one answer."""

_MOST: Final = 1 << 62
"""Of blocks, seconds and transactions: no chain gets there, and the store can hold it."""

_HASH: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_REASON: Final = "0x08c379a0"  # Error(string)

_SENT: Final[tuple[tuple[str, SendResult], ...]] = (
    ("already known", "known"),
    ("already imported", "known"),
    ("known transaction", "known"),
    ("already exists", "known"),
    ("replacement transaction underpriced", "taken"),
    ("replacement", "taken"),
    ("gap to the", "rejected"),
    ("nonce too low", "nonce_used"),
    ("nonce is too low", "nonce_used"),
    ("old nonce", "nonce_used"),
    ("invalid nonce", "nonce_used"),
    ("insufficient funds", "no_gas_money"),
    ("insufficient balance", "no_gas_money"),
    ("underpriced", "fee_too_low"),
    ("less than block base fee", "fee_too_low"),
    ("fee cap less than", "fee_too_low"),
    ("max fee per gas", "fee_too_low"),
    ("fee too low", "fee_too_low"),
    ("basefee", "fee_too_low"),
)
"""What the nodes of geth, reth, erigon, nethermind, besu and anvil say; the first that fits counts."""


def read_count(answer: Answer) -> int:
    """A number of a block, a time in seconds, or a count of transactions. Raises ChainError for one that no chain gets
    to: a node that lies so must not break what works with it."""
    number = quantity(answer)
    if number > _MOST:
        raise ChainError("bad_answer", "a number that no chain gets to")
    return number


def read_head(answer: Answer) -> Head:
    """A block."""
    block = record(answer)
    return Head(
        number=read_count(block.get("number")),
        time_s=read_count(block.get("timestamp")),
        base_fee=quantity(block.get("baseFeePerGas") or "0x0"),
    )


def read_balance(answer: Answer) -> int:
    """What a token's contract says that somebody has of it."""
    return int.from_bytes(data(answer, 32), "big")


def read_receipt(answer: Answer) -> Receipt:
    """The receipt of a transaction that is in a block."""
    receipt = record(answer)
    return Receipt(
        block=read_count(receipt.get("blockNumber")),
        success=quantity(receipt.get("status")) == 1,
        logs=tuple(read_logs(receipt.get("logs"))),
    )


def read_logs(answer: Answer) -> list[Log]:
    """Logs of blocks, without what a reorganisation has removed."""
    if isinstance(answer, Refused):
        raise ChainError("refused", answer.message)
    if not isinstance(answer, list):
        raise ChainError("bad_answer", "not logs")
    if len(answer) > LOGS:
        raise ChainError("too_large", "too many logs")
    return [_log(record(each)) for each in answer if not record(each).get("removed")]


def read_sent(answer: Answer) -> Sent:
    """What came of handing over a transaction."""
    if isinstance(answer, str) and _HASH.fullmatch(answer):
        return Sent("sent")
    if not isinstance(answer, Refused):
        return Sent("rejected", "the node answers with something else than a hash")
    words = answer.message.lower()
    return Sent(next((result for text, result in _SENT if text in words), "rejected"), answer.message)


def read_failing(answer: Answer) -> str:
    """Why a simulated transfer would fail; empty: it would not."""
    if isinstance(answer, Refused):
        return why(answer)
    data(answer)
    return ""


def why(refused: Refused) -> str:
    """Why a contract would not do it, in its own words if it gave some."""
    if refused.data.startswith(_REASON) and len(refused.data) >= 10 + 128:
        try:
            words = bytes.fromhex(refused.data[10:])
        except ValueError:
            words = b""
        size = int.from_bytes(words[32:64], "big")
        if 0 < size <= DETAIL_CHARS:
            return words[64 : 64 + size].decode(errors="replace")
    return refused.message or "refused"


def _log(log: dict[str, Any]) -> Log:
    topics = log.get("topics")
    transaction = log.get("transactionHash")
    if not isinstance(topics, list) or len(topics) > 4:
        raise ChainError("bad_answer", "a log without topics")
    if not isinstance(transaction, str) or not _HASH.fullmatch(transaction):
        raise ChainError("bad_answer", "a log of no transaction")
    try:
        address = read_address(log.get("address"))
    except ValueError as error:
        raise ChainError("bad_answer", "a log of no contract") from error
    return Log(
        address=address,
        topics=tuple(data(each, 32) for each in topics),
        data=data(log.get("data")),
        transaction=transaction.lower(),
        block=read_count(log.get("blockNumber")),
        index=read_count(log.get("logIndex")),
    )

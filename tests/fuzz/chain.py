"""What a node of a chain answers. The first byte picks the reader: a batch, a block, a receipt, logs, the reason of an
error, a transaction that was kept, one call that was no batch."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from nexusd.chain import eip3009
from nexusd.chain.reading import read_head, read_logs, read_receipt, read_sent, why
from nexusd.chain.rpc import Refused, data, flag, quantity, read_batch
from nexusd.chain.views import ChainError
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Account, Authorization
from nexusd_protocols.payments.transaction import Fees, read_fees, read_gas, sign

_ALICE = Account(bytes(31) + b"a")
_BOB = Address(b"b" * 20)
_TOKEN = Address(b"t" * 20)
_AUTHORIZATION = Authorization(
    from_=_ALICE.address, to=_BOB, value=7, valid_after=0, valid_before=2**40, nonce=bytes(range(32))
)
_RAW = sign(_ALICE, chain_id=8453, nonce=3, fees=Fees(200, 100), gas=160_000, to=_TOKEN, data=bytes(292)).raw


def _hex(raw: bytes) -> str:
    return f"0x{raw.hex()}"


def _log(index: int, topics: list[bytes], body: bytes = b"") -> dict[str, Any]:
    return {
        "address": _hex(_TOKEN),
        "topics": [_hex(each) for each in topics],
        "data": _hex(body),
        "transactionHash": "0x" + "ab" * 32,
        "blockNumber": "0x10",
        "logIndex": hex(index),
        "removed": False,
    }


_PAYER = eip3009.address_word(_ALICE.address)
_LOGS = [
    _log(4, [eip3009.USED, _PAYER, _AUTHORIZATION.nonce]),
    _log(5, [eip3009.TRANSFER, _PAYER, eip3009.address_word(_BOB)], eip3009.uint_word(7)),
]
_BATCH = [{"jsonrpc": "2.0", "id": 9, "result": "0x2105"}, {"jsonrpc": "2.0", "id": 8, "error": {"code": 3}}]


def _seed(reader: int, value: object) -> bytes:
    return bytes([reader]) + (value if isinstance(value, bytes) else json.dumps(value).encode())


SEEDS = [
    _seed(0, _BATCH),
    _seed(0, {"error": {"code": -32600, "message": "no batches"}}),
    _seed(1, {"number": "0x10", "timestamp": "0x65", "baseFeePerGas": "0x7"}),
    _seed(2, {"blockNumber": "0x10", "status": "0x1", "logs": _LOGS}),
    _seed(3, _LOGS),
    _seed(4, "0x08c379a0" + "00" * 31 + "20" + "00" * 31 + "02" + "6e6f" + "00" * 30),
    _seed(5, _RAW),
    _seed(6, _BATCH[1]),
    _seed(6, {"id": 8, "error": {"code": 429, "message": "too often"}}),
]


def target(body: bytes) -> None:
    """A value, or a ChainError; of kept transactions a ValueError."""
    if not body:
        return
    reader, rest = body[0] % 7, body[1:]
    try:
        if reader in (0, 6):
            plain = reader == 6
            for answer in read_batch(rest, 8, 1 if plain else 2, plain=plain):
                _results(answer)
        elif reader == 5:
            assert read_fees(rest).most >= 0
            assert read_gas(rest) >= 0
        else:
            _one(reader, rest)
    except ChainError:
        return
    except ValueError:
        if reader != 5:
            raise


def _one(reader: int, body: bytes) -> None:
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return
    match reader:
        case 1:
            assert read_head(value).number >= 0
        case 2:
            read_receipt(value)
        case 3:
            amount = eip3009.paid(_AUTHORIZATION, _TOKEN, read_logs(value))
            assert amount is None or 0 <= amount < 1 << 256
        case 4:
            assert why(Refused(3, "no", value if isinstance(value, str) else ""))


def _results(answer: Any) -> None:
    assert read_sent(answer).result
    for read in (quantity, data, flag):
        try:
            read(answer)
        except ChainError:
            continue

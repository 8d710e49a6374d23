"""Calls and logs, beside eth-abi and hand-made logs."""

from __future__ import annotations

import pytest
from eth_abi import encode

from nexusd.chain import eip3009
from nexusd.chain.eip3009 import Log, paid
from nexusd.chain.reading import read_logs, read_sent, why
from nexusd.chain.rpc import Refused
from nexusd.chain.views import ChainError
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Authorization

TOKEN = Address(b"\x11" * 20)
OTHER = Address(b"\x12" * 20)
ONE = Authorization(
    from_=Address(b"\x21" * 20), to=Address(b"\x31" * 20), value=7, valid_after=1, valid_before=2, nonce=b"\x41" * 32
)


def log(index: int, *topics: bytes, address: Address = TOKEN, data: bytes = b"", transaction: str = "0xa") -> Log:
    return Log(address=address, topics=topics, data=data, transaction=transaction, block=1, index=index)


def used(index: int, nonce: bytes = ONE.nonce, **options) -> Log:
    return log(index, eip3009.USED, eip3009.address_word(ONE.from_), nonce, **options)


def moved(index: int, value: int = 7, from_: Address = ONE.from_, to: Address = ONE.to, **options) -> Log:
    words = (eip3009.TRANSFER, eip3009.address_word(from_), eip3009.address_word(to))
    return log(index, *words, data=eip3009.uint_word(value), **options)


def test_the_call_is_what_eth_abi_makes():
    signature = bytes(range(64)) + b"\x1b"
    kinds = ["address", "address", "uint256", "uint256", "uint256", "bytes32", "uint8", "bytes32", "bytes32"]
    values = [bytes(ONE.from_), bytes(ONE.to), 7, 1, 2, ONE.nonce, 27, signature[:32], signature[32:64]]
    call = eip3009.transfer_with_authorization(ONE, signature)
    assert call == bytes.fromhex("e3ee160e") + encode(kinds, values)
    assert eip3009.balance_of(TOKEN) == bytes.fromhex("70a08231") + encode(["address"], [bytes(TOKEN)])
    state = eip3009.authorization_state(ONE.from_, ONE.nonce)
    assert state == bytes.fromhex("e94a0102") + encode(["address", "bytes32"], [bytes(ONE.from_), ONE.nonce])
    assert bytes.fromhex("3644e515") == eip3009.DOMAIN_SEPARATOR


def test_many_payments_in_one_transaction_are_told_apart():
    """The same payer and payee, three amounts: identity is the nonce, not the transaction."""
    logs = [moved(1, 5), used(2, b"\x42" * 32), moved(3, 6), used(4), moved(5, 7), used(6, b"\x43" * 32), moved(7, 8)]
    assert paid(ONE, TOKEN, logs) == 7
    assert paid(ONE, TOKEN, reversed(logs)) == 7


@pytest.mark.parametrize(
    ("logs", "amount"),
    [
        ([], None),
        ([moved(1)], None),
        ([used(1, b"\x42" * 32), moved(2)], None),
        ([used(1, address=OTHER), moved(2)], None),
        ([log(1, eip3009.CANCELED, eip3009.address_word(ONE.from_), ONE.nonce), moved(2)], None),
        ([used(1)], 0),
        ([moved(1), used(2)], 0),
        ([used(1), moved(2, to=OTHER)], 0),
        ([used(1), moved(2, from_=OTHER)], 0),
        ([used(1), moved(2, address=OTHER)], 0),
        ([used(1), moved(2, transaction="0xb")], 0),
        ([used(1), log(2, address=OTHER), moved(3)], 7),
        ([used(1), log(2), moved(3)], 0),
        ([used(1), moved(2, 3)], 3),
    ],
)
def test_what_proves_that_it_was_paid(logs, amount):
    assert paid(ONE, TOKEN, logs) == amount


@pytest.mark.parametrize(
    ("message", "result"),
    [
        ("already known", "known"),
        ("transaction already imported", "known"),
        ("nonce too low: next nonce 5, tx nonce 4", "nonce_used"),
        ("replacement transaction underpriced", "taken"),
        ("transaction underpriced", "fee_too_low"),
        ("max fee per gas less than block base fee: address 0x…", "fee_too_low"),
        ("insufficient funds for gas * price + value", "no_gas_money"),
        ("intrinsic gas too low", "rejected"),
        ("", "rejected"),
    ],
)
def test_what_nodes_say_of_transactions(message, result):
    assert read_sent(Refused(-32000, message)).result == result


@pytest.mark.parametrize("answer", [None, 1, "0x12", "yes", {}, "0x" + "1" * 65])
def test_an_answer_that_is_no_hash_is_no_sending(answer):
    assert read_sent(answer).result == "rejected"


def test_reasons_of_contracts():
    data = "0x08c379a0" + encode(["string"], ["Pausable: paused"]).hex()
    assert why(Refused(3, "execution reverted", data)) == "Pausable: paused"
    assert why(Refused(3, "execution reverted", "0x08c379a0" + "ff" * 64)) == "execution reverted"
    assert why(Refused(3, "", "0x")) == "refused"


@pytest.mark.parametrize(
    "change",
    [
        {"address": "0x12"},
        {"topics": None},
        {"topics": ["0x12"]},
        {"topics": ["0x" + "00" * 32] * 5},
        {"data": 1},
        {"transactionHash": None},
        {"blockNumber": 5},
        {"blockNumber": "0x8000000000000000"},
        {"logIndex": None},
    ],
)
def test_logs_of_another_form(change):
    good = {
        "address": "0x" + "11" * 20,
        "topics": ["0x" + "00" * 32],
        "data": "0x",
        "transactionHash": "0x" + "AB" * 32,
        "blockNumber": "0x1",
        "logIndex": "0x0",
    }
    (read,) = read_logs([good])
    assert read.transaction == "0x" + "ab" * 32
    assert read_logs([good | {"removed": True}]) == []
    with pytest.raises(ChainError):
        read_logs([good | change])
    with pytest.raises(ChainError):
        read_logs([good] * 1001)

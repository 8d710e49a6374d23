"""Typed data: the example of the standard, the vectors, and what a type does not hold."""

from __future__ import annotations

import pytest

from nexusd_protocols.payments import eip712
from nexusd_protocols.payments.authorization import Account
from tests.harness.vectors import named, vectors

DOC = vectors("payments")


def test_keccak_is_not_sha3():
    assert eip712.keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def test_the_type_of_an_authorisation():
    assert f"0x{eip712.TRANSFER_TYPE_HASH.hex()}" == DOC["typeHash"]


def test_a_domain_of_the_standards_example():
    # EIP-712, "Ether Mail"
    contract = bytes.fromhex("CcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC")
    separator = eip712.domain_separator("Ether Mail", "1", 1, contract)
    assert separator.hex() == "f2cee375fa42b42143804025fc449deafd50cc031ca257e0b194a650a912090f"


def test_the_short_way_is_the_long_one():
    values = {
        "from": b"\x01" * 20,
        "to": b"\x02" * 20,
        "value": 3,
        "validAfter": 4,
        "validBefore": 5,
        "nonce": b"\x06" * 32,
    }
    short = eip712.transfer_hash(*values.values())
    assert short == eip712.struct_hash("TransferWithAuthorization", eip712.TRANSFER_FIELDS, values)


@pytest.mark.parametrize("case", **named(DOC["eip712"]))
def test_offers_and_receipts(case):
    domain = case["domain"]
    separator = eip712.domain_separator(domain["name"], domain["version"], domain["chainId"])
    fields = tuple((name, kind) for name, kind in case["fields"])
    digest = eip712.digest(separator, eip712.struct_hash(case["primaryType"], fields, case["values"]))
    assert f"0x{digest.hex()}" == case["digest"]
    account = Account(bytes.fromhex(case["secret"][2:]))
    assert f"0x{account.sign_digest(digest).hex()}" == case["signature"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uint256", -1),
        ("uint256", 2**256),
        ("uint256", True),
        ("uint256", "1"),
        ("address", b"\x01" * 19),
        ("bytes32", b"\x01" * 31),
        ("string", b"x"),
        ("bytes", b"x"),
    ],
)
def test_a_type_holds_what_it_holds(kind, value):
    with pytest.raises(ValueError, match=f"not a {kind}"):
        eip712.struct_hash("T", (("x", kind),), {"x": value})

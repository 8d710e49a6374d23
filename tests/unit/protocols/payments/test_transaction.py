"""Our transactions are those of eth-account, byte for byte."""

from __future__ import annotations

import pytest
from eth_account import Account as TheirAccount
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Account, N
from nexusd_protocols.payments.transaction import Fees, decode, encode, read_fees, sign
from tests.harness.examples import examples

SECRETS = st.integers(1, N - 1).map(lambda number: number.to_bytes(32, "big"))
ITEMS = st.recursive(st.binary(max_size=300), lambda items: st.lists(items, max_size=5), max_leaves=20)


@settings(max_examples=examples(300))
@given(
    SECRETS,
    st.integers(1, 10**15),
    st.integers(0, 2**40),
    st.integers(0, 2**70),
    st.integers(0, 2**70),
    st.binary(min_size=20, max_size=20),
    st.binary(max_size=400) | st.integers(4_000, 20_000).map(bytes),
    st.integers(0, 2**100),
)
def test_signs_as_eth_account(secret, chain_id, nonce, most, tip, to, data, value):
    account = Account(secret)
    ours = sign(
        account,
        chain_id=chain_id,
        nonce=nonce,
        fees=Fees(most, tip),
        gas=160_000,
        to=Address(to),
        data=data,
        value=value,
    )
    theirs = TheirAccount.sign_transaction(
        {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce,
            "maxFeePerGas": most,
            "maxPriorityFeePerGas": tip,
            "gas": 160_000,
            "to": to,
            "value": value,
            "data": data,
        },
        secret,
    )
    assert ours.raw == bytes(theirs.raw_transaction)
    assert ours.hash == f"0x{theirs.hash.hex().removeprefix('0x')}"
    assert (ours.fees, ours.gas) == (Fees(most, tip), 160_000)
    assert (ours.network, ours.account, ours.account_nonce) == (f"eip155:{chain_id}", account.address.hex(), nonce)


@given(ITEMS)
def test_what_is_encoded_is_read_again(item):
    depth = _depth(item)
    if depth <= 2:
        assert decode(encode(item)) == item
    elif depth > 4:
        with pytest.raises(ValueError, match="nested too deep"):
            decode(encode(item))


@given(st.binary(max_size=200))
def test_bytes_that_mean_nothing_are_a_value_error(data):
    for read in (decode, read_fees, lambda raw: read_fees(b"\x02" + raw)):
        try:
            read(data)
        except ValueError:
            continue


@pytest.mark.parametrize("raw", [b"", b"\x01\xc0", b"\x02\xc0", b"\x02\x80", b"\x02" + bytes(40_000)])
def test_a_transaction_of_another_kind_has_no_fees(raw):
    with pytest.raises(ValueError, match=r"not a transaction|early"):
        read_fees(raw)


def _depth(item) -> int:
    return 1 + max(map(_depth, item), default=0) if isinstance(item, list) else 0

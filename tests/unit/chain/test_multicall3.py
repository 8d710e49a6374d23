"""Calls of Multicall3 are those that eth-abi makes."""

from __future__ import annotations

from eth_abi import decode, encode
from hypothesis import given
from hypothesis import strategies as st

from nexusd.chain.multicall3 import Inner, aggregate3, is_code
from nexusd_protocols.payments.address import Address, checksummed

ADDRESSES = st.binary(min_size=20, max_size=20).map(Address)
KIND = "(address,bool,bytes)[]"


@given(st.lists(st.builds(Inner, ADDRESSES, st.binary(max_size=400)), max_size=30))
def test_as_eth_abi(calls):
    found = aggregate3(calls)
    assert found[:4].hex() == "82ad56cb"  # of the published interface
    wanted = [(checksummed(call.to), True, call.data) for call in calls]
    assert found[4:] == encode([KIND], [wanted])
    ((*entries,),) = decode([KIND], found[4:])
    assert [(bytes.fromhex(to[2:]), data) for to, _, data in entries] == [(call.to, call.data) for call in calls]


def test_other_code_is_not_its():
    assert not is_code(b"")
    assert not is_code(b"\x60\x80" * 1904)

"""Fault C4: a stock host takes plaintext, and the name that comes with it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio
from libp2p import create_identity_from_seed
from libp2p.custom_types import TProtocol
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from multiaddr import Multiaddr

from nexusd.host.security import key_pair_of
from tests.harness.nodes import loopback, signer, until
from tests.unit.host.conftest import address_of, dial_stock, running_stock


def plaintext_as(claimed: str):
    """Security options of a host that claims somebody else's key."""
    transport = InsecureTransport(create_identity_from_seed(signer("mallory").seed()))
    theirs = create_identity_from_seed(signer(claimed).seed()).public_key
    transport.local_private_key = SimpleNamespace(get_public_key=lambda: theirs)
    return {TProtocol(PLAINTEXT_PROTOCOL_ID): transport}


async def test_stock_host_still_believes_a_stranger():
    """If this fails, py-libp2p has dropped plaintext: the upgrader need not be ours."""
    async with (
        running_stock("bob", sec_opt=None) as bob,
        running_stock("mallory", sec_opt=plaintext_as("carol")) as host,
    ):
        with trio.move_on_after(5):
            try:
                await host.get_network()._dial_addr_single_attempt(Multiaddr(address_of(bob)), bob.get_id())
            except Exception as error:
                print("the dialler's side:", error)
        await until(bob.get_connected_peers)
        assert bob.get_connected_peers() == [ID.from_string(signer("carol").peer_id)]


async def test_plaintext_is_refused():
    async with loopback("bob") as (bob,), running_stock("mallory", sec_opt=plaintext_as("carol")) as mallory:
        with pytest.raises(SwarmException):
            await dial_stock(mallory, bob)
        assert not bob.connected()


def test_the_transport_key_is_the_signers():
    alice = signer("alice")
    assert str(ID.from_pubkey(key_pair_of(alice).public_key)) == alice.peer_id

from nexusd.store.peers import ADDRESS_CHARS, PEER_ADDRESSES, PeerRow, Sighting
from nexusd_protocols.identity import Signer
from tests.unit.store.people import BOB, CAROL, MALLORY


def address(number: int) -> str:
    return f"/ip4/192.0.2.{number}/tcp/4001"


async def test_a_peer_is_remembered_with_what_is_known_of_it(store) -> None:
    assert await store.peers.get(BOB) is None
    await store.peers.seen(BOB, addresses=[address(1)], source="mdns", now=100)
    await store.peers.identified(BOB, "nexusd/0.1.0", 110)
    await store.peers.named(BOB, "bob", 120)
    assert await store.peers.get(BOB) == PeerRow(
        peer=BOB,
        addresses=(address(1),),
        source="mdns",
        agent_version="nexusd/0.1.0",
        display_name="bob",
        first_seen=100,
        last_seen=120,
    )


async def test_a_name_or_version_alone_makes_a_peer_known(store) -> None:
    await store.peers.named(BOB, "bob", 1)
    await store.peers.identified(CAROL, "js-libp2p", 2)
    assert [(row.peer, row.display_name, row.agent_version) for row in await store.peers.list(10)] == [
        (CAROL, "", "js-libp2p"),
        (BOB, "bob", ""),
    ]


async def test_addresses_merge_with_the_latest_first_and_a_bound(store) -> None:
    await store.peers.seen(BOB, addresses=[address(1), address(2)], now=1)
    await store.peers.seen(BOB, addresses=[address(3), address(1)], now=2)
    row = await store.peers.get(BOB)
    assert row.addresses == (address(3), address(1), address(2))
    await store.peers.seen(BOB, addresses=[address(number) for number in range(10, 50)], now=3)
    row = await store.peers.get(BOB)
    assert row.addresses == tuple(address(number) for number in range(10, 10 + PEER_ADDRESSES))


async def test_overlong_addresses_are_not_kept(store) -> None:
    await store.peers.seen(BOB, addresses=["/dns4/" + "m" * ADDRESS_CHARS, "", address(1)], now=1)
    assert (await store.peers.get(BOB)).addresses == (address(1),)


async def test_time_never_goes_back_and_the_first_source_stays(store) -> None:
    await store.peers.identified(BOB, "nexusd", 50)
    await store.peers.seen(BOB, source="mdns", now=100)
    await store.peers.seen(BOB, source="inbound", now=90)
    row = await store.peers.get(BOB)
    assert (row.first_seen, row.last_seen, row.source) == (50, 100, "mdns")


async def test_a_batch_is_one_commit(store) -> None:
    before = store.database.commits
    batch = [Sighting(peer=Signer(bytes([number]) * 32).peer_id, addresses=[address(1)]) for number in range(100)]
    await store.peers.seen_all(batch, now=1)
    assert store.database.commits == before + 1
    assert len(await store.peers.list(1000)) == 100


async def test_the_list_has_the_latest_first(store) -> None:
    await store.peers.seen(BOB, now=1)
    await store.peers.seen(CAROL, now=3)
    await store.peers.seen(MALLORY, now=2)
    assert [row.peer for row in await store.peers.list(2)] == [CAROL, MALLORY]


async def test_the_stale_and_the_surplus_are_forgotten_but_not_that_they_are_blocked(store) -> None:
    for number, peer in enumerate((MALLORY, BOB, CAROL)):
        await store.peers.seen(peer, now=number * 10)
    await store.peers.block(MALLORY, "spam", 1)
    assert await store.peers.forget_stale(5) == 1
    assert [row.peer for row in await store.peers.list(10)] == [CAROL, BOB]
    assert await store.peers.forget_stale(0, keep=1) == 1
    assert [row.peer for row in await store.peers.list(10)] == [CAROL]
    assert await store.peers.blocked() == {MALLORY: "spam"}


async def test_a_peer_is_blocked_and_unblocked(store) -> None:
    await store.peers.seen(MALLORY, now=1)
    await store.peers.block(MALLORY, "", 2)
    row = await store.peers.get(MALLORY)
    assert row.blocked
    assert row.block_reason == ""
    await store.peers.block(MALLORY, "spam", 3)
    assert await store.peers.blocked() == {MALLORY: "spam"}
    assert [row.blocked for row in await store.peers.list(10)] == [True]
    assert await store.peers.unblock(MALLORY)
    assert not await store.peers.unblock(MALLORY)
    assert not (await store.peers.get(MALLORY)).blocked


async def test_a_peer_never_seen_may_be_blocked(store) -> None:
    await store.peers.block(MALLORY, "spam", 2)
    assert await store.peers.get(MALLORY) == PeerRow(peer=MALLORY, block_reason="spam")
    assert await store.peers.list(10) == []

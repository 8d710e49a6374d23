from __future__ import annotations

from dataclasses import replace

from nexusd_protocols.kad.providers import ProviderEntry
from nexusd_protocols.kad.records import StoredRecord
from nexusd_protocols.kad.renewals import Renewal
from nexusd_protocols.kad.saved import Saved
from tests.harness.kad import peer, tcp
from tests.harness.stores import opened

RECORD = StoredRecord(b"/nexus/\xff\x00", b"\x00value", peer(1), 100)
PROVIDER = ProviderEntry(b"\x12 key", peer(2), (tcp("8.8.8.8"), b"\xff\x00"), "8.8.8.0/24", 101)
OWN = Renewal("record", b"/nexus/x", b"1", 102, 3)
PROVIDED = Renewal("provider", b"/nexus/x", b"", 103)


async def test_what_was_kept_is_there_after_a_restart(tmp_path) -> None:
    async with opened(tmp_path / "store.sqlite") as store:
        assert await store.dht.load() == Saved([], [], [])
        for own in (OWN, PROVIDED, replace(OWN, value=b"2", failures=0)):
            await store.dht.keep_own(own)
        await store.dht.keep_others([(RECORD.key, RECORD)], [((PROVIDER.key, PROVIDER.peer), PROVIDER)])
    async with opened(tmp_path / "store.sqlite") as store:
        assert await store.dht.load() == Saved([replace(OWN, value=b"2", failures=0), PROVIDED], [RECORD], [PROVIDER])


async def test_changes_are_followed(store) -> None:
    await store.dht.keep_own(OWN)
    await store.dht.keep_own(PROVIDED)
    await store.dht.drop_own("record", OWN.key)
    await store.dht.drop_own("record", b"never there")
    other = replace(RECORD, key=b"other", received_at=99)
    newer = replace(RECORD, value=b"newer", peer=peer(3), received_at=104)
    moved = replace(PROVIDER, addresses=(), received_at=105)
    await store.dht.keep_others([(RECORD.key, RECORD), (b"other", other)], [((PROVIDER.key, PROVIDER.peer), PROVIDER)])
    await store.dht.keep_others([(RECORD.key, newer), (b"gone", None)], [((PROVIDER.key, PROVIDER.peer), moved)])
    assert await store.dht.load() == Saved([PROVIDED], [other, newer], [moved])
    await store.dht.keep_others([(RECORD.key, None), (b"other", None)], [((PROVIDER.key, PROVIDER.peer), None)])
    assert await store.dht.load() == Saved([PROVIDED], [], [])

from __future__ import annotations

from nexusd_protocols.kad.providers import LIFE_MS, ProviderEntry, Providers
from tests.harness.kad import peer, tcp

KEY = b"key"


def entry(by: int, key: bytes = KEY, at: int = 0, subnet: str = "") -> ProviderEntry:
    return ProviderEntry(key, peer(by), (tcp("8.8.8.8"),), subnet, at)


def peers(providers: Providers, now: int = 0, key: bytes = KEY) -> list[str]:
    return [contact.peer for contact in providers.get(key, now)]


def test_the_latest_come_first_and_each_once():
    providers = Providers()
    for by in (1, 2, 3, 1):
        providers.add(entry(by))
    assert peers(providers) == [peer(1), peer(3), peer(2)]
    assert providers.get(b"other", 0) == []


def test_an_entry_lives_for_two_days():
    providers = Providers()
    providers.add(entry(1))
    assert peers(providers, LIFE_MS) == [peer(1)]
    assert peers(providers, LIFE_MS + 1) == []
    providers.expire(LIFE_MS + 1)
    assert len(providers) == 0
    assert providers.changes() == [((KEY, peer(1)), None)]


def test_bounds_of_a_key_a_peer_and_all():
    providers = Providers(count=20, per_peer=5, per_key=3)
    for by in range(10):
        providers.add(entry(by))
    assert peers(providers) == [peer(9), peer(8), peer(7)]
    for number in range(10):
        providers.add(entry(50, key=b"%d" % number))
    assert len(providers) == 3 + 5
    assert not providers.get(b"4", 0)
    assert providers.get(b"5", 0)
    for by in range(100, 200):
        providers.add(entry(by, key=b"k%d" % by))
    assert len(providers) == 20


def test_one_network_cannot_hide_the_others():
    providers = Providers(per_key=10, per_subnet=2)
    providers.add(entry(1, subnet="honest"))
    for by in range(100, 200):
        providers.add(entry(by, subnet="198.51.100.0/24"))
    assert peers(providers) == [peer(199), peer(198), peer(1)]


def test_changes_and_return():
    providers = Providers()
    providers.add(entry(1))
    providers.add(entry(2, at=5))
    changes = providers.changes()
    assert sorted(name for name, _ in changes) == sorted([(KEY, peer(1)), (KEY, peer(2))])
    assert providers.changes() == []
    providers.not_kept([(KEY, peer(1))])
    assert providers.changes() == [((KEY, peer(1)), entry(1))]
    again = Providers()
    again.restore([found for _, found in changes if found], LIFE_MS + 1)
    assert peers(again, LIFE_MS + 1) == [peer(2)]
    assert again.changes() == []

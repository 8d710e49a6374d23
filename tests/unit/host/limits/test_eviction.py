"""Who makes room."""

from __future__ import annotations

from nexusd.host.limits.eviction import Connection, Stage, Worth, in_transit, least_valued
from nexusd.host.limits.origin import origin_of

PATIENCE = 0.5


def moving(address: str, since: float, stage: Stage = Stage.SPEAKING) -> Connection:
    return Connection(origin_of(address), inbound=True, since=since, heard=since, stage=stage)


def victim(transit, newcomer="203.0.113.1", now=10.0, heard=lambda _: False):
    proven, newcomer = newcomer.startswith("proven "), newcomer.removeprefix("proven ")
    came = Connection(origin_of(newcomer), inbound=True, since=now, heard=now, proven=proven)
    return in_transit(transit, came, PATIENCE, heard)


def test_the_oldest_silent_one_goes_first():
    silent = [moving(f"10.0.0.{n}", since=n, stage=Stage.SILENT) for n in range(3)]
    speaking = moving("10.1.0.1", since=-1)
    assert victim([speaking, *silent]) is silent[0]


def test_one_that_has_spoken_unheard_is_not_silent():
    first, second = (moving(f"10.0.0.{n}", since=n, stage=Stage.SILENT) for n in range(2))
    assert victim([first, second], heard=lambda connection: connection is first) is second
    assert first.stage is Stage.SPEAKING


def test_then_one_of_the_neighbourhood_that_holds_most():
    crowd = [moving(f"10.0.0.{n}", since=n) for n in range(3)]
    others = [moving(f"10.{n}.0.1", since=-n) for n in range(1, 9)]
    assert victim([*others, *crowd]) is crowd[0]


def test_the_least_progressed_of_them():
    crowd = [moving("10.0.0.1", 1, Stage.AUTHENTICATED), moving("10.0.0.2", 2)]
    assert victim(crowd) is crowd[1]


def test_one_that_stalls_before_one_that_goes_on():
    stalled, going = moving("10.0.0.1", since=2), moving("10.0.0.2", since=1)
    going.heard = 9.9
    assert victim([going, stalled]) is stalled


def test_a_newcomer_from_the_crowd_waits_for_nobody_in_his_time():
    crowd = [moving(f"10.0.0.{n}", since=9.8) for n in range(3)]
    assert victim(crowd, "10.0.0.9") is None
    assert victim(crowd, "10.0.0.9", now=10.3) is crowd[0]
    assert victim(crowd, "10.0.1.9") is crowd[0]


def test_who_has_shown_nothing_displaces_nobody_who_has():
    proven, other = moving("10.0.0.1", since=1), moving("10.1.0.1", since=2)
    proven.proven = True
    assert victim([proven, other]) is other
    assert victim([proven]) is None
    assert victim([proven], "proven 203.0.113.1") is proven


ALICE = "12D3KooWAlice"


def opened(address: str, since: float) -> Connection:
    return Connection(origin_of(address), inbound=True, since=since, stage=Stage.OPEN, peer=ALICE)


def worst(strangers, newcomer="203.0.113.1", **worth):
    return least_valued(
        strangers, origin_of(newcomer), lambda c: worth.get(c.origin.address.replace(".", "_"), Worth())
    )


def test_the_youngest_where_all_is_equal():
    strangers = [opened(f"10.{n}.0.1", since=n) for n in range(4)]
    assert worst(strangers) is strangers[3]


def test_a_penalised_one_goes_first_however_old_and_busy():
    strangers = [opened(f"10.{n}.0.1", since=n) for n in range(4)]
    values = {f"10_{n}_0_1": Worth(streams=3, penalty=12 if n == 0 else 3) for n in range(4)}
    chosen = least_valued(strangers, origin_of("203.0.113.1"), lambda c: values[c.origin.address.replace(".", "_")])
    assert chosen is strangers[0]


def test_one_without_streams_before_a_younger_one_with():
    strangers = [opened(f"10.{n}.0.1", since=n) for n in range(4)]
    chosen = least_valued(strangers, origin_of("203.0.113.1"), lambda c: Worth(streams=int(c is not strangers[2])))
    assert chosen is strangers[2]


def test_the_neighbourhood_that_holds_most_displaces_its_own():
    honest = [opened(f"10.{n}.0.1", since=n + 100) for n in range(4)]
    crowd = [opened(f"192.0.2.{n}", since=n) for n in range(5)]
    assert worst([*crowd, *honest]) is crowd[4]
    assert worst([*crowd, *honest], "192.0.2.99") is crowd[4]


def test_churn_from_one_neighbourhood_never_reaches_the_honest():
    honest = [opened(f"10.{n}.0.1", since=1000 + n) for n in range(8)]
    strangers = honest + [opened(f"192.0.2.{n}", since=n) for n in range(2)]
    for round_ in range(200):
        evicted = worst(strangers, "192.0.2.77")
        if evicted is not None:
            assert evicted not in honest
            strangers.remove(evicted)
            strangers.append(opened("192.0.2.77", since=2000 + round_))


def test_where_all_that_could_go_are_safe_the_newcomer_does_not_come():
    strangers = [opened("192.0.2.1", since=0), opened("192.0.2.2", since=1), *(
        opened(f"10.{n}.0.1", since=10 + n) for n in range(3)
    )]  # fmt: skip
    assert worst(strangers, "192.0.2.3") is None
    assert worst([], "192.0.2.3") is None

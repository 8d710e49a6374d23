"""What Prometheus reads: the text as its own parser takes it, and figures from where they are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from nexusd.host.ports import ExchangeStats
from nexusd.services.metrics import Gossip, LoopLag, Metrics, Sources, Storage
from nexusd.services.metrics.families import METRICS, ROOM_METRICS, STORAGE_METRICS
from nexusd.services.metrics.loop_lag import BUCKETS
from nexusd_protocols.gossipsub.counters import Counters
from nexusd_protocols.rpc.schema import ConnectionUsage, RoomStats

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def room(name: str) -> RoomStats:
    fields = [field for field in RoomStats.__struct_fields__ if field != "room"]
    return RoomStats(room=name, **{field: number for number, field in enumerate(fields, 1)})


def sources(*rooms: RoomStats) -> Sources:
    return Sources(
        version="1.2.3",
        started_at=1_800_000_000_500,
        connections=lambda: ConnectionUsage(open=5, limit=128, inbound=3, inbound_limit=96, in_transit=2, refused=7),
        peers=lambda: (4, 40),
        bans=lambda: 6,
        streams=lambda: (8, 9),
        gossip=lambda: Gossip(Counters(rpcs=100, promises_broken=11), 12, 13, 14),
        calls=lambda: (15, 16),
        events=lambda: 17,
        rooms=lambda: rooms,
        storage=storage,
        loop_lag=LoopLag(),
    )


async def storage() -> Storage:
    return Storage(
        blocks=21,
        bytes=22,
        file_bytes=23,
        others=24,
        others_limit=25,
        disk_free=26,
        damaged=27,
        found_damaged=28,
        uploads=29,
        fetches=30,
        exchange=ExchangeStats(31, 32, 33, 34, 35, 36, 37, 38),
    )


async def scrape(asked: Sources) -> Samples:
    text = (await Metrics(asked).expose()).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of_room(name: str) -> Any:
    return (("room", name),)


async def test_figures_come_from_where_they_are_kept() -> None:
    found = await scrape(sources(room("general")))
    assert found[("nexusd_build_info", (("version", "1.2.3"),))] == 1
    assert found[("nexusd_start_time_seconds", ())] == 1_800_000_000.5
    assert found[("nexusd_peers_connected", ())] == 4
    assert found[("nexusd_peers_known", ())] == 40
    assert found[("nexusd_peers_banned", ())] == 6
    assert found[("nexusd_connections_refused_total", ())] == 7
    assert found[("nexusd_streams_inbound", ())] == 8
    assert found[("nexusd_calls_incoming", ())] == 16
    assert found[("nexusd_gossip_promises_broken_total", ())] == 11
    assert found[("nexusd_gossip_dropped_forwarded_total", ())] == 12
    assert found[("nexusd_content_bytes", ())] == 22
    assert found[("nexusd_content_found_damaged_total", ())] == 28
    assert found[("nexusd_bitswap_sent_bytes_total", ())] == 32
    assert found[("nexusd_room_peers", of_room("general"))] == 1
    assert found[("nexusd_room_mesh_peers", of_room("general"))] == 2
    assert found[("nexusd_room_promises_broken_total", of_room("general"))] == 17


async def test_each_metric_of_the_table_is_there_for_each_room() -> None:
    found = await scrape(sources(*(room(f"r{number}") for number in range(256))))
    names = {(each.name + "_total" * (each.kind == "counter"), ()) for each in (*METRICS, *STORAGE_METRICS)}
    assert names <= set(found)
    per_room = {key for key in found if key[1] and key[1][0][0] == "room"}
    assert len(per_room) == 256 * len(ROOM_METRICS), "and no more lines than rooms times metrics"


@pytest.mark.parametrize(
    "name", ['a"} 1\nnexusd_peers_connected 999', "back\\slash\\", 'quote"', "new\nline", "# HELP", "grüße", ""]
)
async def test_a_room_cannot_write_lines_of_its_own(name: str) -> None:
    found = await scrape(sources(room(name)))
    assert found[("nexusd_peers_connected", ())] == 4
    assert found[("nexusd_room_peers", of_room(name))] == 1


async def test_without_rooms_the_daemon_still_tells() -> None:
    found = await scrape(sources())
    assert found[("nexusd_peers_known", ())] == 40
    assert not [key for key in found if key[0].startswith("nexusd_room_")]


async def test_nothing_is_put_into_the_registry_of_the_process() -> None:
    before = prometheus_client.generate_latest()
    await scrape(sources(room("general")))
    assert b"nexusd" not in before
    assert b"nexusd" not in prometheus_client.generate_latest()


async def test_delays_of_the_loop_are_a_histogram() -> None:
    lag = LoopLag()
    for seconds in (0.0, 0.001, 0.02, 99.0):
        lag.add(seconds)
    found = await scrape(replace(sources(), loop_lag=lag))
    assert found[("nexusd_loop_lag_seconds_bucket", (("le", "0.001"),))] == 2
    assert found[("nexusd_loop_lag_seconds_bucket", (("le", "0.025"),))] == 3
    assert found[("nexusd_loop_lag_seconds_bucket", (("le", str(BUCKETS[-1])),))] == 3
    assert found[("nexusd_loop_lag_seconds_bucket", (("le", "+Inf"),))] == 4
    assert found[("nexusd_loop_lag_seconds_count", ())] == 4
    assert found[("nexusd_loop_lag_seconds_sum", ())] == pytest.approx(99.021)


async def test_the_loop_is_looked_at_each_second(autojump_clock: MockClock) -> None:
    import trio

    lag = LoopLag()
    with trio.move_on_after(10.5):
        await lag.run()
    assert lag.buckets()[-1] == ("+Inf", 10.0)
    assert lag.total == pytest.approx(0)

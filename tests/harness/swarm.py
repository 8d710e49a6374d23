"""Exchanges of blocks in memory: who asks gets what the others have, as fast as they give it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Self

import trio

from nexusd.host.dht import Found
from nexusd.host.ports import BlockSource, DeadlineError, ExchangeStats, HostError, NotFoundError
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import PeerId


class Swarm:
    """All nodes, and what the DHT would know of them."""

    def __init__(self) -> None:
        self.exchanges: dict[PeerId, FakeExchange] = {}
        self.provided: dict[str, list[PeerId]] = {}

    def exchange(self, peer: PeerId) -> FakeExchange:
        made = self.exchanges[peer] = FakeExchange(self, peer)
        return made


class FakeExchange:
    """Implements `host.ports.BlockExchange`. `connected` are asked without being named. `before` is awaited before a
    block is given, and may raise, or wait."""

    def __init__(self, swarm: Swarm, own: PeerId) -> None:
        self.swarm = swarm
        self.own = own
        self.connected: set[PeerId] = set()
        self.source: BlockSource | None = None
        self.told: list[Cid] = []
        self.given: list[Cid] = []
        self.under_way = 0
        self.most_under_way = 0
        self.sessions = 0
        self.before: Callable[[Cid], Awaitable[None]] | None = None

    def session(self) -> FakeSession:
        self.sessions += 1
        return FakeSession(self)

    def set_source(self, source: BlockSource) -> None:
        self.source = source

    def arrived(self, cids: Iterable[Cid]) -> None:
        self.told += cids

    def stats(self) -> ExchangeStats:
        return ExchangeStats()


class FakeSession:
    """Asks one after the other."""

    def __init__(self, exchange: FakeExchange) -> None:
        self._exchange = exchange
        self.peers: set[PeerId] = set()

    def add_peers(self, peers: Iterable[PeerId]) -> None:
        self.peers |= set(peers)

    async def get(self, cid: Cid, *, timeout: float) -> bytes:
        mine = self._exchange
        mine.under_way += 1
        mine.most_under_way = max(mine.most_under_way, mine.under_way)
        try:
            with trio.fail_after(timeout):
                for peer in sorted(self.peers | mine.connected):
                    other = mine.swarm.exchanges[peer]
                    data = await other.source.get(cid, mine.own) if other.source else None
                    if data is None:
                        continue
                    if other.before is not None:
                        await other.before(cid)
                    other.given.append(cid)
                    return data
                await trio.lowlevel.checkpoint()
        except trio.TooSlowError as error:
            raise DeadlineError(f"{cid} did not come") from error
        finally:
            mine.under_way -= 1
        raise NotFoundError(f"Nobody who was asked has {cid}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._exchange.sessions -= 1


class FakeNames:
    """The DHT of one node, as `services.content.ports.Names`."""

    def __init__(self, swarm: Swarm, own: PeerId) -> None:
        self._swarm = swarm
        self._own = own
        self.asked: list[str] = []
        self.alone = False

    async def provide(self, cid: str) -> list[PeerId]:
        if self.alone:
            raise HostError("No peer of the DHT could be asked")
        self._swarm.provided.setdefault(cid, []).append(self._own)
        return []

    async def stop_providing(self, cid: str) -> bool:
        if self._own in self._swarm.provided.get(cid, []):
            self._swarm.provided[cid].remove(self._own)
            return True
        return False

    async def find_providers(self, cid: str, count: int = 20) -> list[Found]:
        self.asked.append(cid)
        if self.alone:
            raise HostError("No peer of the DHT could be asked")
        return [Found(peer, ()) for peer in self._swarm.provided.get(cid, []) if peer != self._own]


def slowly(seconds: float) -> Callable[[Cid], Awaitable[None]]:
    """A `before` that takes its time."""

    async def wait(_cid: Cid) -> None:
        await trio.sleep(seconds)

    return wait

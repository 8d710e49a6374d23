"""Bans imposed, kept and ended: by the host, for what a peer owes, or by a person.

    host: points over the threshold -> convict: refused from here on, cut off, logged, told -> store
    person: ban | unban             -> store -> the same

A ban ends by itself. It is in force in memory first where a peer earned it, and on disk first where a person asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
import trio

from nexusd.host.ports import Network
from nexusd.services.policy import NO_REASON, BanTable, Policy
from nexusd.services.ports import Emit, LiveEvent, Resolve, WallClock
from nexusd.store import Store
from nexusd.store.bans import Ban
from nexusd_protocols.identity import PeerId
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import Done, PeersBanParams, PeersUnbanParams

log = structlog.get_logger(__name__)

LOOK_S: Final = 30.0
"""The longest sleep between looks at which bans are over: the wall clock may be set meanwhile."""


class Bans:
    """The bans of this node. `readmit` is told of a peer whose ban is over."""

    def __init__(
        self,
        *,
        policy: Policy,
        network: Network,
        store: Store,
        emit: Emit,
        clock: WallClock,
        resolve: Resolve,
        readmit: Callable[[PeerId], None],
    ) -> None:
        self._policy = policy
        self._network = network
        self._store = store
        self._emit = emit
        self._clock = clock
        self._resolve = resolve
        self._readmit = readmit
        self._keeping = trio.Lock()
        """Held while the disk is brought to what memory says of a peer."""
        self._changed = trio.Event()
        self._nursery: trio.Nursery | None = None

    async def load(self) -> None:
        """Put the bans of before in force, and begin to hear what peers owe."""
        self._policy.bans = BanTable(await self._store.bans.list())
        self._policy.bans.ended(self._clock())
        await self._forget(self._policy.bans.forget_old(self._clock()))
        self._network.set_judge(self.convict)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry out bans, and end those that are over, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            while True:
                now = self._clock()
                for ban in self._policy.bans.ended(now):
                    self._freed(ban.peer, "ended")
                await self._forget(self._policy.bans.forget_old(now))
                self._changed = trio.Event()
                ends = [ban.until - now for ban in self._policy.bans.holding(now)]
                with trio.move_on_after(min(LOOK_S, min(ends) / 1000) if ends else float("inf")):
                    await self._changed.wait()

    def convict(self, peer: PeerId, offence: str, address: str) -> None:
        """A peer owes too much; `offence` is what came last, `address` the IP address it came from, if known."""
        now = self._clock()
        if self._policy.bans.find(peer, now) is not None:
            return  # what it did before it was cut off
        ban = self._policy.bans.sentence(peer, offence, now)
        forgotten = self._policy.bans.add(ban)
        self._tell(ban, address)
        assert self._nursery is not None
        self._nursery.start_soon(self._network.disconnect, peer)
        self._nursery.start_soon(self._keep, peer, forgotten)

    async def _keep(self, peer: PeerId, forgotten: list[PeerId]) -> None:
        async with self._keeping:
            ban = self._policy.bans.last(peer)
            try:
                if ban is not None:
                    await self._store.bans.put(ban)
            except OSError as error:
                log.warning("ban_not_stored", peer=peer, error=str(error))  # it holds until a restart
        await self._forget(forgotten)

    async def _forget(self, peers: list[PeerId]) -> None:
        if not peers:
            return
        async with self._keeping:
            try:
                await self._store.bans.remove(peers)
            except OSError as error:
                log.warning("bans_not_forgotten", error=str(error))  # the next start forgets them

    def _tell(self, ban: Ban, address: str) -> None:
        """One line for a log watcher (contrib/fail2ban reads it: its form is fixed), one event for programs."""
        log.info(
            "peer_banned",
            peer=ban.peer,
            address=address or "unknown",
            reason=ban.reason,
            seconds=(ban.until - ban.since) // 1000,
            times=ban.times,
        )
        data = {
            "peerId": ban.peer,
            "reason": ban.reason,
            "since": ban.since,
            "until": ban.until,
            "times": ban.times,
            "byHand": ban.by_hand,
        }
        self._emit(LiveEvent(kind="peer", type="banned", at=ban.since, data=data, peer=ban.peer))
        self._changed.set()

    def _freed(self, peer: PeerId, why: str) -> None:
        log.info("peer_unbanned", peer=peer, reason=why)
        data = {"peerId": peer, "reason": why}
        self._emit(LiveEvent(kind="peer", type="unbanned", at=self._clock(), data=data, peer=peer))
        self._readmit(peer)

    # --- requests ---------------------------------------------------------------------------------------------------
    async def ban(self, params: PeersBanParams) -> Done | Refusal:
        """Refuse everything from a peer for a time, and cut it off. A new ban takes the place of one that holds."""
        peer = self._resolve(params.peer)
        if isinstance(peer, Refusal):
            return peer
        if peer == self._network.peer_id:
            return Refusal("invalid_peer", "That is this daemon itself")
        async with self._keeping:
            reason = params.reason or NO_REASON
            ban = self._policy.bans.sentence(peer, reason, self._clock(), length=params.duration_ms, by_hand=True)
            await self._store.bans.put(ban)
            forgotten = self._policy.bans.add(ban)
        self._tell(ban, "")
        await self._forget(forgotten)
        await self._network.disconnect(peer)
        return Done()

    async def unban(self, params: PeersUnbanParams) -> Done | Refusal:
        """End a ban now, and forget that there was one: the peer's next would be its first."""
        peer = self._resolve(params.peer)
        if isinstance(peer, Refusal):
            return peer
        if self._policy.bans.find(peer, self._clock()) is None:
            blocked = peer in self._policy.blocks
            return Refusal("refused", f"{peer} is blocked: unblock it" if blocked else f"{peer} is not banned")
        async with self._keeping:
            await self._store.bans.remove([peer])
            self._policy.bans.lift(peer)
        self._network.pardon(peer)
        self._freed(peer, "lifted")
        return Done()

"""Connections, once there is one: authenticated, multiplexed, and in the swarm for as long as they have their place.

Fault C2: after 250 inbound connections, ever, a stock host accepts no more: its handler holds an inbound slot and a
parked task until the swarm stops. Its other limits would lock honest peers out too, or close what they should not, so
all of them are as wide as can be, and the gate alone decides (`limits`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Final

from libp2p.network.config import ConnectionConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID

from nexusd.host.closing import close_connection
from nexusd.host.limits.gate import Gate, Pass, RefusedError
from nexusd_protocols.identity import PeerId

_log = logging.getLogger(__name__)

BOUNDLESS: Final = 1 << 30
"""For limits that are not libp2p's to keep."""


def boundless(negotiate_seconds: int) -> ConnectionConfig:
    """A stock swarm's configuration in which it refuses, prunes and dials nothing of its own accord."""
    return ConnectionConfig(
        max_connections=BOUNDLESS,
        min_connections=0,
        low_watermark=0,
        high_watermark=BOUNDLESS,
        max_connections_per_peer=BOUNDLESS,
        outbound_stream_protocol_negotiation_timeout=negotiate_seconds,
        inbound_stream_protocol_negotiation_timeout=negotiate_seconds,
    )


class Admission:
    """Takes connections into the swarm. `allowed` says whether a peer may be here at all; `spawn` is a nursery's
    `start_soon`, for the life of the host."""

    def __init__(self, swarm: Swarm, gate: Gate, allowed: Callable[[PeerId], bool], spawn: Callable[..., None]) -> None:
        self._swarm = swarm
        self._gate = gate
        self._allowed = allowed
        self._spawn = spawn
        self._dial = swarm._dial_addr_single_attempt
        swarm._dial_addr_single_attempt = self._outbound
        swarm._do_handle_inbound_connection = lambda raw, _listen_address, _failure: self.take(raw)
        swarm._inbound_limiter.total_tokens = math.inf

    async def serve(self, raw: Any, pass_: Pass) -> None:
        """Until the connection is over. Run it in the scope of the pass. Raises RefusedError, and what the upgrade
        raises."""
        upgrader = self._swarm.upgrader
        # a relayed connection brings its address, which no socket knows
        raw = raw if isinstance(raw, RawConnection) else RawConnection(raw, False)
        secured = await upgrader.upgrade_security(raw, False)
        peer_id = secured.get_remote_peer()
        peer = PeerId(str(peer_id))
        pass_.authenticated(peer)
        if not self._allowed(peer):
            self._gate.refuse("peer_refused", pass_.connection.origin.address, peer)
            raise RefusedError(f"{peer} is refused")
        muxed = await upgrader.upgrade_connection(secured, peer_id)
        pass_.enter(peer)
        connection = await self._swarm.add_conn(muxed, direction="inbound")
        pass_.streams = _streams_of(connection)
        # the swarm's own event comes before the muxer has sent its last words
        await muxed.event_closed.wait()

    async def take(self, raw: Any) -> None:
        """An inbound connection that did not come to a listener of ours, until it is over: a relayed one, or from a
        transport of libp2p's kind, which has a listener of its own."""
        remote = raw.get_remote_address()
        pass_ = self._gate.accept(remote[0] if remote else "")
        try:
            if pass_ is not None:
                pass_.spoke()
                with pass_.scope:
                    await self.serve(raw, pass_)
        except Exception as error:
            _log.debug("inbound connection failed: %r", error)
        finally:
            if pass_ is not None:
                pass_.close()
            await _close(raw)

    async def _outbound(self, address: Any, peer_id: ID, source: Any = None) -> Any:
        """As the swarm's: dial, once. Raises RefusedError too."""
        peer = PeerId(str(peer_id))
        self._gate.check(peer, str(address))
        connection = await self._dial(address, peer_id, source)
        try:
            pass_ = self._gate.join(
                peer, str(address), _streams_of(connection), lambda: self._spawn(close_connection, connection)
            )
        except RefusedError:
            self._spawn(close_connection, connection)
            raise
        self._spawn(_hold, connection, pass_)
        return connection


async def _hold(connection: Any, pass_: Pass) -> None:
    """The place is the connection's until it is closed."""
    try:
        await connection.event_closed.wait()
    finally:
        pass_.close()


def _streams_of(connection: Any) -> Callable[[], int]:
    # those that the peer opened: ours say only that we would like to talk
    session = connection.muxed_conn.session
    return lambda: int(session.inbound)


async def _close(raw: Any) -> None:
    try:
        await raw.close()
    except Exception as error:
        _log.debug("close failed: %r", error)

"""Fault C2: after 250 inbound connections, ever, a stock host accepts no more.

Its handler holds an inbound slot and a parked task until the swarm stops, instead of until the connection closes.
"""

from __future__ import annotations

import logging
from typing import Any

from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm

_log = logging.getLogger(__name__)


def release_inbound_slots(swarm: Swarm) -> None:
    """Hold the slot of an inbound connection for as long as the connection lives."""

    async def handle(raw: Any, listen_address: Any, _failure: object) -> None:
        connection = None
        try:
            remote = swarm._build_remote_multiaddr(raw)
            if remote is None or await swarm.connection_gate.is_allowed(remote):
                muxed = await swarm.upgrade_inbound_raw_conn(RawConnection(raw, False), listen_address)
                connection = next((c for c in swarm.get_connections(muxed.peer_id) if c.muxed_conn is muxed), None)
                if connection is not None:
                    await connection.event_closed.wait()
        except Exception as error:
            _log.debug("inbound connection failed: %r", error)
        finally:
            if connection is None:
                await _close(raw)

    swarm._do_handle_inbound_connection = handle


async def _close(raw: Any) -> None:
    try:
        await raw.close()
    except Exception as error:
        _log.debug("close failed: %r", error)

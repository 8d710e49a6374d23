"""Bounds of a session, for configuration and tests. `nexusd_protocols.limits` says why they are what they are."""

from __future__ import annotations

from dataclasses import dataclass

from nexusd_protocols import limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Numbers of streams, bytes, seconds."""

    inbound_streams: int = limits.YAMUX_INBOUND_STREAMS
    outbound_streams: int = limits.YAMUX_OUTBOUND_STREAMS
    backlog: int = limits.YAMUX_BACKLOG
    window_bytes: int = limits.YAMUX_WINDOW_BYTES
    send_bytes: int = limits.YAMUX_SEND_BYTES
    share_bytes: int = limits.YAMUX_SHARE_BYTES
    output_bytes: int = limits.YAMUX_OUTPUT_BYTES
    control_bytes: int = limits.YAMUX_CONTROL_BYTES
    ping_seconds: float = limits.YAMUX_PING_SECONDS
    ping_timeout: float = limits.YAMUX_PING_TIMEOUT

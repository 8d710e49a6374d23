"""status, connect, stop, rpc: the daemon as a whole."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import msgspec

from nexusd import lockfile
from nexusd.cli.options import STDIN
from nexusd.cli.outcome import Answer, Verbatim
from nexusd.cli.session import call, current
from nexusd.cli.terminal import clean, duration, pairs
from nexusd.cli.usage import UsageError
from nexusd_protocols.rpc.schema import ConnectionUsage, Done, NodeMetrics, NodeStatus, Peer

STOP_S: Final = 10.0
"""Twice what the daemon promises."""


def status() -> Answer[NodeStatus]:
    """What this daemon is and does."""
    return Answer(call("node.status"), _status)


def metrics() -> Verbatim:
    """Print the figures of this daemon, for Prometheus."""
    found: NodeMetrics = call("node.metrics")
    return Verbatim(found.text.rstrip("\n"))


def connect(address: str, /) -> Answer[Peer]:
    """Dial an address.

    Parameters
    ----------
    address
        Multiaddr that ends in /p2p/<peerId>, as `nexus status` shows it on the other host.
    """
    return Answer(call("peers.connect", address=address), lambda peer: f"connected to {clean(peer.peer_id)}")


def stop() -> Answer[Done]:
    """Drain and stop the daemon, and wait until it is gone, so that another can start."""
    status: NodeStatus = call("node.status")
    done = call("node.shutdown")
    deadline = time.monotonic() + STOP_S
    while held := lockfile.holder(Path(status.data_dir)) is not None:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return Answer(done, lambda _: f"{clean(status.name)} {'is still draining' if held else 'stopped'}")


def rpc(method: str, params: str = "{}", /) -> Answer[Any]:
    """Call any method of the socket.

    Parameters
    ----------
    method
        Its name; `nexus rpc rpc.discover` lists them.
    params
        A JSON object; - reads it from standard input.
    """
    if params == STDIN:
        params = current().stdin.read()
    try:
        fields = msgspec.json.decode(params)
    except msgspec.DecodeError as error:
        raise UsageError(f"the parameters are not JSON: {error}", "write them as '{\"key\": …}'") from None
    if not isinstance(fields, dict):
        raise UsageError("the parameters must be a JSON object", "write them as '{\"key\": …}'")
    return Answer(current().nexus.call(method, fields), _json)


def _status(status: NodeStatus) -> str:
    """One screen. Everything is shown whole: it is meant to be copied."""
    rows = [
        ("name", f"{status.name} (process {status.pid}, version {status.version}, up {duration(status.uptime_ms)})"),
        ("peer id", status.peer_id),
    ]
    if status.agent != status.peer_id:
        rows.append(("agent", status.agent))
    rows += _list("address", status.addresses)
    rows += [
        ("role", status.role),
        ("peers", f"{status.peers_connected} connected, {status.peers_known} known"),
        ("", _connections(status.connections)),
        ("rooms", ", ".join(status.rooms) or "none"),
        ("serves", ", ".join(status.capabilities) or "nothing"),
    ]
    rows += _list("discovery", [f"{source}: {doing}" for source, doing in status.discovery.items()])
    rows += [("data", status.data_dir), ("socket", status.socket)]
    return pairs(rows)


def _connections(usage: ConnectionUsage) -> str:
    text = f"{usage.open} of {usage.limit} connections, {usage.inbound} of {usage.inbound_limit} inbound"
    if usage.in_transit:
        text += f", {usage.in_transit} in transit"
    return text + (f", {usage.refused} refused since the start" if usage.refused else "")


def _list(label: str, values: list[str]) -> list[tuple[str, str]]:
    return [(label if position == 0 else "", value) for position, value in enumerate(values)]


def _json(value: Any) -> str:
    # ASCII only: the text in it is a peer's perhaps, and this is a terminal
    import json

    return json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=True)


def version() -> Answer[dict[str, str]]:
    """Print the version."""
    from nexusd import __version__

    return Answer({"version": __version__}, lambda found: f"nexus {found['version']}")

"""Which addresses to listen on. The ports of the default addresses are chosen free on the first start and remembered
in `<data_dir>/ports`, so that a peer that knows an address finds this node there again."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Final

import msgspec

from nexusd.config import Config

FILE_NAME: Final = "ports"

_RANGE: Final = range(20_000, 32_768)
"""Below what Linux (32768) and macOS (49152) hand out for outgoing connections: no such connection takes our port
between two starts."""
_TRIES: Final = 100


class PortInUseError(Exception):
    """The port that was asked for is taken. Says what to do."""


class Ports(msgspec.Struct, frozen=True):
    """What is remembered."""

    tcp: int
    ws: int


def addresses(config: Config, choose: random.Random | None = None) -> list[str]:
    """Multiaddrs to listen on: those configured, or TCP and WebSocket on every interface (or on loopback).

    `port` is TCP's; WebSocket gets a port of its own, always chosen and remembered (with `listen` it can be fixed). A
    remembered port that somebody else took in the meantime is replaced by another for this run, and not forgotten.
    Raises PortInUseError if a port that the user asked for is taken, OSError.
    """
    if config.listen:
        return list(config.listen)
    choose = choose or random.Random()  # noqa: S311 - a port is no secret
    ip = "127.0.0.1" if config.loopback else "0.0.0.0"  # noqa: S104 - a peer listens on its network
    if config.port and not _free(ip, config.port):
        raise PortInUseError(
            f"Port {config.port} ({config.origins['port']}) is in use: choose another with --port, or 0 for any"
        )
    remembered = _recall(config.data_dir)
    taken = {config.port}
    if remembered is None:
        tcp = config.port or _find(ip, taken, choose)
        ports = Ports(tcp, _find(ip, taken | {tcp}, choose))
        _remember(config.data_dir, ports)
        return _format(ip, ports)
    tcp = config.port or (remembered.tcp if _free(ip, remembered.tcp) else _find(ip, taken, choose))
    ws = remembered.ws if remembered.ws != tcp and _free(ip, remembered.ws) else _find(ip, {tcp}, choose)
    return _format(ip, Ports(tcp, ws))


def _format(ip: str, ports: Ports) -> list[str]:
    return [f"/ip4/{ip}/tcp/{ports.tcp}", f"/ip4/{ip}/tcp/{ports.ws}/ws"]


def _find(ip: str, taken: set[int], choose: random.Random) -> int:
    for _ in range(_TRIES):
        port = choose.choice(_RANGE)
        if port not in taken and _free(ip, port):
            return port
    raise PortInUseError(f"No free port between {_RANGE.start} and {_RANGE.stop - 1}: choose one with --port")


def _free(ip: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # as servers do: a port in TIME_WAIT of our last run is ours
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
        except OSError:
            return False
    return True


def _recall(data_dir: Path) -> Ports | None:
    try:
        ports = msgspec.json.decode((data_dir / FILE_NAME).read_bytes(), type=Ports)
    except (OSError, msgspec.DecodeError):
        return None  # ports are no secret and no promise: a damaged file is replaced
    return ports if all(0 < port <= 65535 for port in (ports.tcp, ports.ws)) else None


def _remember(data_dir: Path, ports: Ports) -> None:
    path = data_dir / FILE_NAME
    temporary = path.with_name(f".{FILE_NAME}.new")
    temporary.unlink(missing_ok=True)
    temporary.touch(0o600)
    temporary.write_bytes(msgspec.json.encode(ports) + b"\n")
    temporary.replace(path)

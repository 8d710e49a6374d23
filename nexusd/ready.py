"""What a daemon says once it is ready, to the terminal it runs in or to the process that detached it."""

from __future__ import annotations

import shlex

import msgspec

from nexusd.paths import DEFAULT_NAME


class ReadyInfo(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Who and where a daemon is."""

    name: str
    peer_id: str
    addresses: list[str]
    """Listen addresses, each ending in /p2p/<peerId>."""
    data_dir: str
    socket: str
    pid: int
    in_data_home: bool = True
    """Whether `--name` is enough to find it."""
    log: str | None = None
    """Where a detached one logs to."""
    wallet_locked: str = ""
    """Why its wallet is locked; empty where it is open, or there is none."""


def announcement(info: ReadyInfo) -> str:
    """Lines for people: who, where, and what to type next."""
    if not info.in_data_home:
        nexus = f"nexus --data-dir {shlex.quote(info.data_dir)}"
    elif info.name != DEFAULT_NAME:
        nexus = f"nexus --name {info.name}"
    else:
        nexus = "nexus"
    lines = [f"nexusd is ready: {info.name}, process {info.pid}", f"  peer id  {info.peer_id}"]
    lines += [f"  {'address' if i == 0 else '':<8} {address}" for i, address in enumerate(info.addresses)]
    lines.append(f"  data     {info.data_dir}")
    if info.log:
        lines.append(f"  log      {info.log}")
    if info.wallet_locked:
        lines.append(
            f"  wallet   locked, {info.wallet_locked}: nothing is paid or settled until `{nexus} wallet unlock`"
        )
    lines += [
        "Try next:",
        f"  {nexus} peers",
        f"  {nexus} room join general",
        f"  {nexus} stop" if info.log else "  Ctrl-C stops it",
    ]
    return "\n".join(lines)

"""Which daemon a client talks to.

1. A data directory that is given, else `NEXUS_DATA_DIR`: the daemon of that directory.
2. A name that is given, else `NEXUS_NAME`: the daemon of that profile.
3. The only one that runs. With several, the error lists them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nexusd import paths
from nexusd.client.errors import NexusError


def find_socket(
    name: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Path:
    """The socket of the daemon meant. Raises NexusError: `daemon_unreachable`, `invalid_name`, `ambiguous_daemon`."""
    environment = os.environ if environment is None else environment
    # what is said on the spot outweighs the environment, whichever of the two it is
    if data_dir is None and name is None:
        data_dir, name = environment.get("NEXUS_DATA_DIR") or None, environment.get("NEXUS_NAME") or None
    if data_dir is not None:
        return _socket_of(Path(data_dir).expanduser())
    if name is not None:
        try:
            return _socket_of(paths.data_dir_of(name, environment))
        except ValueError as error:
            raise NexusError.of("invalid_name", str(error)) from None
    running = paths.running(environment)
    if not running:
        raise NexusError.of("daemon_unreachable", "No daemon is running")
    if len(running) > 1:
        names = [one.name for one in running]
        raise NexusError.of("ambiguous_daemon", f"Several daemons are running: {', '.join(names)}", names)
    return running[0].socket


def unreachable(socket: Path, error: OSError) -> NexusError:
    """The error for a socket at which nobody answers; it names the daemons that do run."""
    if isinstance(error, PermissionError):
        return NexusError.of("refused", f"The daemon at {socket} belongs to another user")
    names = [one.name for one in paths.running()]
    if names:
        text = f"No daemon answers at {socket}; running: {', '.join(names)}"
        return NexusError("daemon_unreachable", text, f"add --name {names[0]}, or start it", 2, names)
    return NexusError.of("daemon_unreachable", f"No daemon answers at {socket}")


def _socket_of(data_dir: Path) -> Path:
    try:
        return paths.socket_of(data_dir)
    except paths.UnsafePathError as error:
        raise NexusError.of("refused", str(error)) from None

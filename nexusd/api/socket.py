"""The Unix socket: where it lies, who may connect, and how many.

It lies in a directory of ours that nobody else can enter, with mode 0600, and each client's uid is checked besides:
whoever can speak on it acts as this host's agents.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog
import trio

from nexusd.api.connection import Bounds, ClientConnection
from nexusd.api.dispatch import handlers
from nexusd.api.ports import Services
from nexusd_protocols import limits
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.connection import unattributed_error

log = structlog.get_logger(__name__)

_BACKLOG: Final = 128
_NO_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_RETRY_SECONDS: Final = 0.1
_PROBE_SECONDS: Final = 1.0
_UCRED: Final = struct.Struct("3i")  # pid, uid, gid (unix(7))
_XUCRED: Final = struct.Struct("IIh")  # version, uid, number of groups (macOS sys/ucred.h)
_XUCRED_BYTES: Final = 76
_SOL_LOCAL: Final = 0  # macOS sys/un.h
_LOCAL_PEERCRED: Final = 1


class SocketPathError(Exception):
    """The socket cannot lie there. The message says what to do."""


async def serve(
    path: Path,
    services: Services,
    *,
    bounds: Bounds | None = None,
    connections: int = limits.RPC_CONNECTIONS,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen at `path` and serve clients until cancelled; started once clients can connect. On the way out every client
    is told, and the socket is removed. Raises SocketPathError, OSError."""
    table = handlers(services)
    clients: set[ClientConnection] = set()
    async with trio.open_nursery() as nursery:
        with listening(path) as listener:
            task_status.started()
            while True:
                sock = await _accept(listener)
                refusal = _unwelcome(sock, connections - len(clients))
                if refusal is not None:
                    _turn_away(sock, refusal)
                    continue
                client = ClientConnection(sock, services, table, bounds)
                clients.add(client)
                nursery.start_soon(_serve_one, client, clients)


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A listening, non-blocking Unix socket at `path`, mode 0600; removed on leaving, unless it is no longer ours.
    Raises SocketPathError, OSError."""
    _check_directory(path.parent)
    _make_way(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            listener.bind(os.fspath(path))
        except OSError as error:
            if "too long" not in str(error):
                raise
            raise SocketPathError(f"{path} is too long for a Unix socket: choose a shorter --data-dir") from error
        path.chmod(0o600)  # nobody can connect before listen()
        ours = path.lstat()
        try:
            listener.listen(_BACKLOG)
            listener.setblocking(False)
            yield listener
        finally:
            _remove(path, ours)
    finally:
        listener.close()


def _check_directory(directory: Path) -> None:
    try:
        found = directory.stat()
    except FileNotFoundError:
        raise SocketPathError(f"{directory} does not exist") from None
    if found.st_uid != os.geteuid():
        raise SocketPathError(f"{directory} belongs to another user (uid {found.st_uid})")
    if found.st_mode & 0o077:
        raise SocketPathError(f"{directory} is open to other users: close it with `chmod 700 {directory}`")


def _make_way(path: Path) -> None:
    """Remove a socket that a daemon left behind when it was killed; anything else at that path stays."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise SocketPathError(f"{path} is a symbolic link: remove it")
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketPathError(f"{path} is in the way, and is not a socket: remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise SocketPathError(f"{path} cannot be examined: {error}") from error
    raise SocketPathError(f"Another daemon listens at {path}")


def _remove(path: Path, ours: os.stat_result) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino):
        path.unlink(missing_ok=True)


async def _accept(listener: socket.socket) -> socket.socket:
    while True:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            await trio.lowlevel.wait_readable(listener)
        except OSError as error:
            if error.errno not in _NO_RESOURCES:
                raise
            log.warning("a client could not be accepted", error=str(error))
            await trio.sleep(_RETRY_SECONDS)  # the queue stays readable: without a pause this would spin
        else:
            await trio.lowlevel.checkpoint()
            sock.setblocking(False)
            return sock


def _unwelcome(sock: socket.socket, places: int) -> Refusal | None:
    uid = peer_uid(sock)
    if uid != os.geteuid():
        log.warning("a client of another user was turned away", uid=uid)
        return Refusal("refused", "This daemon belongs to another user")
    return Refusal("busy", "This daemon serves as many connections as it can") if places < 1 else None


def peer_uid(sock: socket.socket) -> int | None:
    """The uid of the process that connected, from the kernel; None where the platform does not tell."""
    try:
        if (option := getattr(socket, "SO_PEERCRED", None)) is not None:
            _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, option, _UCRED.size))
        else:
            _, uid, _ = _XUCRED.unpack_from(sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED_BYTES))
    except (OSError, struct.error):
        return None
    return int(uid)


def _turn_away(sock: socket.socket, refusal: Refusal) -> None:
    try:
        sock.send(unattributed_error(refusal))
    except OSError:
        pass  # it is gone already
    finally:
        sock.close()


async def _serve_one(client: ClientConnection, clients: set[ClientConnection]) -> None:
    try:
        await client.serve()
    except Exception:
        # a fault here is ours, but it concerns one client: the others go on
        log.exception("a client's connection failed")
    finally:
        clients.discard(client)

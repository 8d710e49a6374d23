"""Where a profile lives: its data directory, its socket, and which profiles are running.

Standard library only: every `nexus` command imports this first. The socket is `<data_dir>/nexusd.sock`; where that is
too long for a Unix socket it moves to `$XDG_RUNTIME_DIR/nexusd-<hash>/` (or a directory of ours under /tmp), and the
file `<data_dir>/socket` names it. The daemon decides with `place_socket`; everybody else asks `socket_of`.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEFAULT_NAME: Final = "default"
SOCKET_NAME: Final = "nexusd.sock"
POINTER_NAME: Final = "socket"

MAX_SOCKET_BYTES: Final = 100
"""sun_path holds 108 bytes on Linux and 104 on macOS, with the NUL; libraries differ on the last few."""

_MAX_POINTER_BYTES: Final = 4096
_PROBE_SECONDS: Final = 0.5
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class UnsafePathError(Exception):
    """A file or directory that holds secrets, or the socket, could be changed by somebody else. Says what to do."""


@dataclass(frozen=True, slots=True, order=True)
class Running:
    """A profile whose daemon answers."""

    name: str
    data_dir: Path
    socket: Path


def parse_name(text: str) -> str:
    """Check a profile's name and return it. Raises ValueError, saying what a name looks like."""
    if not _NAME.fullmatch(text):
        raise ValueError(
            "a profile's name is 1 to 64 of the characters A-Z a-z 0-9 . _ - and begins with a letter or digit"
        )
    return text


def data_home(environment: Mapping[str, str] | None = None) -> Path:
    """The directory of all profiles: `$XDG_DATA_HOME/nexusd`, by default under ~/.local/share (on macOS under
    ~/Library/Application Support). A relative XDG_DATA_HOME is ignored, as the XDG base directory spec demands."""
    environment = os.environ if environment is None else environment
    given = environment.get("XDG_DATA_HOME", "")
    if given.startswith("/"):
        return Path(given) / "nexusd"
    home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "nexusd"
    return home / ".local" / "share" / "nexusd"


def data_dir_of(name: str, environment: Mapping[str, str] | None = None) -> Path:
    """The data directory of a profile. Raises ValueError for a name that is none."""
    return data_home(environment) / parse_name(name)


def make_private_dir(path: Path) -> None:
    """Make a directory that only its owner can enter. One that exists must be ours; if it is empty it is closed to
    others, if not, that is for the user to decide. Raises UnsafePathError, OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise UnsafePathError(f"{path} belongs to another user (uid {found.st_uid}): choose another with --data-dir")
    if found.st_mode & 0o077:
        if any(path.iterdir()):
            raise UnsafePathError(f"{path} is open to other users: close it with `chmod 700 {path}`")
        path.chmod(0o700)


def place_socket(data_dir: Path, environment: Mapping[str, str] | None = None) -> Path:
    """Decide where this daemon's socket goes, and make the directory for it (the data directory must exist). Writes or
    removes the file that names a socket elsewhere. For the daemon, under the data directory's lock."""
    pointer = data_dir / POINTER_NAME
    direct = data_dir.absolute() / SOCKET_NAME
    if len(os.fsencode(direct)) <= MAX_SOCKET_BYTES:
        pointer.unlink(missing_ok=True)
        return direct
    directory = _short_directory(data_dir, os.environ if environment is None else environment)
    place = directory / SOCKET_NAME
    temporary = pointer.with_name(f".{POINTER_NAME}.new")
    temporary.write_text(f"{place}\n")
    temporary.chmod(0o600)
    temporary.replace(pointer)
    return place


def socket_of(data_dir: Path) -> Path:
    """Where the daemon of a data directory listens, if it runs. Raises UnsafePathError if the path is one that another
    user could have put a socket of his own at."""
    data_dir = data_dir.absolute()
    try:
        with (data_dir / POINTER_NAME).open("rb") as file:
            raw = file.read(_MAX_POINTER_BYTES)
    except OSError:
        return data_dir / SOCKET_NAME
    place = Path(os.fsdecode(raw.strip()))
    if not place.is_absolute() or place.name != SOCKET_NAME:
        raise UnsafePathError(f"{data_dir / POINTER_NAME} does not name a socket: delete it and restart the daemon")
    if place.parent.exists():
        _check_private(place.parent)
    return place


def answers(place: Path) -> bool:
    """Whether somebody accepts connections on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(os.fspath(place))
        except OSError as error:
            # a full backlog (EAGAIN) has a listener behind it; a stale file or none does not
            return error.errno == errno.EAGAIN
    return True


def running(environment: Mapping[str, str] | None = None) -> list[Running]:
    """Profiles under the data home whose daemon answers, by name. Stale sockets and foreign files are passed over."""
    try:
        entries = sorted(data_home(environment).iterdir())
    except OSError:
        return []
    found = []
    for data_dir in entries:
        if not _NAME.fullmatch(data_dir.name):
            continue
        try:
            place = socket_of(data_dir)
        except UnsafePathError:
            continue
        if answers(place):
            found.append(Running(data_dir.name, data_dir, place))
    return found


def _short_directory(data_dir: Path, environment: Mapping[str, str]) -> Path:
    import hashlib  # rarely needed, and slow to import

    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and Path(runtime).is_dir():
        directory = Path(runtime) / f"nexusd-{digest}"
        if len(os.fsencode(directory / SOCKET_NAME)) <= MAX_SOCKET_BYTES:
            directory.mkdir(mode=0o700, exist_ok=True)
            _check_private(directory)
            return directory
    # /tmp is everybody's: what is found there must be a real directory of ours that nobody else can enter
    shared = Path("/tmp") / f"nexusd-{os.geteuid()}"  # noqa: S108 - checked by _check_private
    for directory in (shared, shared / digest):
        directory.mkdir(mode=0o700, exist_ok=True)
        _check_private(directory)
    return shared / digest


def _check_private(directory: Path) -> None:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise UnsafePathError(
            f"{directory} is not a private directory of yours: remove it, then start the daemon again"
        )

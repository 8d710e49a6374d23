"""The key file: one Ed25519 seed, readable by its owner only.

The file is one line of three words: `nexusd-ed25519`, the 32-byte seed in base64, and the PeerId that follows from it.
The PeerId is there so that a damaged file is noticed, not taken for another identity. Back the file up like a
password; whoever has it is this node.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from nexusd import durable
from nexusd_protocols.identity import Signer

_PREFIX: Final = "nexusd-ed25519"
_MAX_BYTES: Final = 1024


class KeyFileError(Exception):
    """The key file cannot be used. The message names the file and says what to do."""


def load_or_create(path: Path) -> Signer:
    """The key in a file; a new one if the file does not exist yet. Raises KeyFileError.

    Two processes must not do this at once: hold the data directory's lock.
    """
    try:
        return load(path)
    except FileNotFoundError:
        signer = Signer(secrets.token_bytes(32))
        try:
            line = f"{_PREFIX} {base64.b64encode(signer.seed()).decode()} {signer.peer_id}\n"
            durable.write_secret(path, line, replace=True)
        except OSError as error:
            raise KeyFileError(f"The key file {path} cannot be written: {error.strerror}") from error
        return signer


def load(path: Path) -> Signer:
    """The key in a file. Raises FileNotFoundError if there is none, KeyFileError if it must not or cannot be used."""
    try:
        # O_NONBLOCK: opening a FIFO that was put there must not hang
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise KeyFileError(f"The key file {path} is a symbolic link: put the file itself there") from None
        raise KeyFileError(f"The key file {path} cannot be read: {error.strerror}") from error
    try:
        _check(os.fstat(descriptor), path)
        return _parse(os.read(descriptor, _MAX_BYTES + 1), path)
    finally:
        os.close(descriptor)


def _check(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise KeyFileError(f"The key file {path} is not a regular file: move it away")
    if found.st_uid != os.geteuid():
        raise KeyFileError(f"The key file {path} belongs to another user (uid {found.st_uid}): `chown` it to you")
    if found.st_mode & 0o077:
        raise KeyFileError(
            f"The key file {path} can be read by others (mode {stat.S_IMODE(found.st_mode):04o}): "
            f"close it with `chmod 600 {path}`; if somebody may have read it, delete it for a new identity"
        )


def _parse(raw: bytes, path: Path) -> Signer:
    damaged = KeyFileError(f"The key file {path} is damaged: restore it from a backup, or delete it for a new identity")
    words = raw.split()
    if len(raw) > _MAX_BYTES or len(words) != 3 or words[0] != _PREFIX.encode():
        raise damaged
    try:
        seed = base64.b64decode(words[1], validate=True)
    except binascii.Error:
        raise damaged from None
    if len(seed) != 32 or (signer := Signer(seed)).peer_id.encode() != words[2]:
        raise damaged
    return signer

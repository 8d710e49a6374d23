"""What is looked up: records under `/<namespace>/<name>`, providers under the multihash of a CID."""

from __future__ import annotations

import binascii
from typing import Final

import base58

from nexusd_protocols import limits, multibase, varint

_CID_CHARS: Final = 128
"""A CIDv1 of a SHA-512 has 112 characters in base32."""
_DIGEST_BYTES: Final = (20, 64)
"""Shorter ones are easy to collide; nothing in use is longer."""


def record_key(key: str, namespace: str) -> bytes:
    """The bytes of a record's key. Raises ValueError, saying what is wrong with it."""
    raw = key.encode()
    if not raw.startswith(f"/{namespace}/".encode()) or len(raw) <= len(namespace) + 2:
        raise ValueError(f"A record's key begins with /{namespace}/ and has a name after it")
    if len(raw) > limits.KAD_KEY_BYTES:
        raise ValueError(f"A key has at most {limits.KAD_KEY_BYTES} bytes")
    return raw


def content_key(cid: str) -> bytes:
    """The multihash in the text form of a CID: what providers of the content are looked up by, whatever the codec
    (libp2p specs, kad-dht/README.md, "Content provider advertisement"). Raises ValueError for what is not a CID."""
    if not 0 < len(cid) <= _CID_CHARS:
        raise ValueError("not a CID: wrong length")
    try:
        raw = _decoded(cid)
        if not cid.startswith("Qm"):
            version, at = varint.read(raw, 0)
            _codec, at = varint.read(raw, at)
            if version != 1:
                raise ValueError("only versions 0 and 1 exist")
            raw = raw[at:]
        check_multihash(raw)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"not a CID: {error}") from error
    return raw


def check_multihash(raw: bytes) -> None:
    """Raises ValueError if these bytes are not a multihash: a code, a length, and a digest of that length."""
    _code, at = varint.read(raw, 0)
    length, at = varint.read(raw, at)
    if length != len(raw) - at:
        raise ValueError("the digest has another length than is said")
    if not _DIGEST_BYTES[0] <= length <= _DIGEST_BYTES[1]:
        raise ValueError("no digest of such a length is in use")


def _decoded(cid: str) -> bytes:
    """The bytes behind multibase (or of a CIDv0, which has none)."""
    return bytes(base58.b58decode(cid)) if cid.startswith("Qm") else multibase.decode(cid)

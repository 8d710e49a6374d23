"""Envelopes and documents. The first line is the key, what is behind it the value; both are also read for another."""

from __future__ import annotations

import contextlib

from nexusd_protocols.pointer import documents
from nexusd_protocols.pointer.envelope import CODES, PointerError, read, supersedes, valid_until
from nexusd_protocols.pointer.keys import Key
from tests.harness.vectors import vectors

_DOC = vectors("pointer")
_NOW = 1_760_000_000_000
_SHAPES = (
    (documents.AgentProfile, "profile-pointer"),
    (documents.RoomManifest, "room-pointer"),
    (documents.CapabilityDocument, "capability-pointer"),
    (documents.StorageOffer, "storage-offer"),
)
SEEDS = [
    f"{row['key']}\n{row[field]}".encode()
    for rows, field in (
        (_DOC["accepted"], "value"),
        (_DOC["refused"], "value"),
        (_DOC["documents"]["accepted"], "data"),
        (_DOC["documents"]["refused"], "data"),
    )
    for row in rows
]
_SIGNED = {row["value"].encode() for row in _DOC["accepted"]}


def target(data: bytes) -> None:
    """Accept, or raise PointerError or DocumentError."""
    head, _, value = data.partition(b"\n")
    text = head.decode(errors="replace")
    refused = ""
    try:
        pointer = read(text, value, _NOW)
    except PointerError as error:
        refused = error.code
    if refused:
        assert refused in CODES
    else:
        assert str(pointer.key) == text
        assert value in _SIGNED, "nobody here has the key to make another"
        assert valid_until(value) >= _NOW
        assert not supersedes(value, value)
    with contextlib.suppress(ValueError):
        _read_document(Key.parse(text), value)


def _read_document(key: Key, value: bytes) -> None:
    for shape, kind in _SHAPES:
        if key.kind == kind:
            document = documents.read(shape, key, value)
            assert documents.read(shape, key, documents.write(document)[1]) == document

"""A CID: the codec and the SHA-256 of a block. (multiformats/cid)"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import base58

from nexusd_protocols import multibase, varint

RAW: Final = 0x55
DAG_PB: Final = 0x70
DAG_CBOR: Final = 0x71
DAG_JSON: Final = 0x0129
JSON: Final = 0x0200

_NAMES: Final = {RAW: "raw", DAG_PB: "dag-pb", DAG_CBOR: "dag-cbor", DAG_JSON: "dag-json", JSON: "json"}
_SHA2_256: Final = 0x12
_DIGEST_BYTES: Final = 32
_MULTIHASH_PREFIX: Final = bytes((_SHA2_256, _DIGEST_BYTES))
_TEXT_CHARS: Final = 96
"""Base16 is the longest form, of a codec with as many bytes as a varint may have: 1 + 2 × (1 + 9 + 34) characters."""


@dataclass(frozen=True, slots=True, order=True)
class Cid:
    """The name of a block. `digest` has 32 bytes; version 0 exists for dag-pb only and is another name than version 1
    of the same block, though both have one digest. Raises ValueError for what no CID can be."""

    codec: int
    digest: bytes
    version: int = 1

    def __post_init__(self) -> None:
        if len(self.digest) != _DIGEST_BYTES:
            raise ValueError("a SHA-256 has 32 bytes")
        if not 0 <= self.codec < 1 << 63:
            raise ValueError("no such codec")
        if self.version not in (0, 1) or (self.version == 0 and self.codec != DAG_PB):
            raise ValueError("version 0 is for dag-pb, and only version 1 exists besides")

    @classmethod
    def of(cls, codec: int, data: bytes) -> Cid:
        """The name of these bytes."""
        return cls(codec, hashlib.sha256(data).digest())

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Read the text form: `Qm…` (version 0), or version 1 in base32 (`b`), base58 (`z`), base16 (`f`) or base36
        (`k`), each as it is written and no other way. Raises ValueError."""
        if not 2 <= len(text) <= _TEXT_CHARS:
            raise ValueError("not a CID: wrong length")
        try:
            if text.startswith("Qm"):
                cid = cls.decode(bytes(base58.b58decode(text)))
                canonical = str(cid)
            else:
                cid = cls.decode(multibase.decode(text))
                if cid.version == 0:
                    raise ValueError("version 0 has no base before it")
                canonical = multibase.encode(text[0], cid.encode())
        except ValueError as error:
            raise ValueError(f"not a CID: {error}") from error
        if canonical != text:
            raise ValueError(f"not a CID: written otherwise, {canonical}")
        return cid

    @classmethod
    def decode(cls, raw: bytes) -> Cid:
        """Read the binary form. Raises ValueError."""
        if raw.startswith(_MULTIHASH_PREFIX) and len(raw) == 2 + _DIGEST_BYTES:
            return cls(DAG_PB, bytes(raw[2:]), 0)
        version, at = varint.read(raw, 0)
        if version != 1:
            raise ValueError("only versions 0 and 1 exist")
        codec, at = varint.read(raw, at)
        code, at = varint.read(raw, at)
        length, at = varint.read(raw, at)
        if code != _SHA2_256:
            raise ValueError("unsupported hash: only sha2-256 is read")
        if length != _DIGEST_BYTES or len(raw) - at != _DIGEST_BYTES:
            raise ValueError("a SHA-256 has 32 bytes")
        return cls(codec, bytes(raw[at:]))

    def encode(self) -> bytes:
        """The binary form."""
        multihash = _MULTIHASH_PREFIX + self.digest
        return multihash if self.version == 0 else b"\x01" + varint.encode(self.codec) + multihash

    @property
    def codec_name(self) -> str:
        """As the table of multicodecs calls it; the number of one that is not known here."""
        return _NAMES.get(self.codec, hex(self.codec))

    def __str__(self) -> str:
        raw = self.encode()
        return base58.b58encode(raw).decode() if self.version == 0 else multibase.encode("b", raw)

    def verifies(self, data: bytes) -> bool:
        """Are these the bytes that it names?"""
        return hashlib.sha256(data).digest() == self.digest

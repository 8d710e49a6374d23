"""The people in the tests, with keys that never change. Mallory attacks."""

from __future__ import annotations

from nexusd_protocols.identity import Signer

ALICE = Signer(b"\x01" * 32)
BOB = Signer(b"\x02" * 32)
CAROL = Signer(b"\x03" * 32)
MALLORY = Signer(b"\x04" * 32)

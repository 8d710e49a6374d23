"""What an authorisation buys: one request, at one provider, under one offer. (specs/payments.md §5)

    nonce = keccak256(tag | provider | request | offer | salt)

The payer makes the nonce so and sends the salt along; the provider makes it again. So an authorisation cannot be shown
to a second provider that has the same payee, nor for a second request, and a retry presents the same one. The nonces
of other payers are random and say nothing; terms may refuse them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from nexusd_protocols import agent_proof
from nexusd_protocols.identity import AgentId, PeerId, peer_id_bytes
from nexusd_protocols.payments.authorization import read_nonce
from nexusd_protocols.payments.eip712 import keccak256

EXTENSION: Final = "nexus-binding"
SALT_BYTES: Final = 32

_TAG: Final = keccak256(b"nexusd payment binding 1")
_REQUEST: Final = b"nexusd payment request 1"
_OFFER: Final = b"nexusd payment offer 1"


@dataclass(frozen=True, slots=True)
class Context:
    """What is being bought: who provides, and the digest of the request."""

    provider: PeerId
    request: bytes


def request_digest(*, request_id: str, caller: AgentId, to_agent: AgentId | None, content: bytes) -> bytes:
    """32 bytes that name a request: its id, who asks whom, and `content`, as `OpenFrame.content` gives it. A retry has
    the same."""
    parts = (request_id, caller, to_agent or "")
    return agent_proof.digest(_REQUEST, *(part.encode() for part in parts), content)


def offer_digest(accepted: dict[str, Any]) -> bytes:
    """32 bytes that name an offer: the entry of `accepts`. Raises ValueError where it has no canonical form."""
    return agent_proof.digest(_OFFER, agent_proof.canonical(accepted))


def nonce(context: Context, offer: bytes, salt: bytes) -> bytes:
    """The nonce of an authorisation. `offer` is an `offer_digest`, `salt` 32 random bytes, new for each purchase."""
    if len(context.request) != 32 or len(offer) != 32 or len(salt) != SALT_BYTES:
        raise ValueError("digests and the salt have 32 bytes")
    return keccak256(_TAG + peer_id_bytes(context.provider) + context.request + offer + salt)


def extension(salt: bytes) -> dict[str, Any]:
    """What goes into `extensions` of the payment."""
    return {EXTENSION: {"salt": f"0x{salt.hex()}"}}


def read_salt(extensions: object) -> bytes | None:
    """The salt of a payment, None where it does not claim to be bound. Raises ValueError for a malformed claim."""
    if not isinstance(extensions, dict) or EXTENSION not in extensions:
        return None
    claim = extensions[EXTENSION]
    return read_nonce(claim.get("salt") if isinstance(claim, dict) else None)

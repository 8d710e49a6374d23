"""Which agent speaks: optional signed fields on `invoke.open` and `dm.message`.

A stream authenticates a node. A node may host several agents, each with a key of its own, so a frame can name its
author (`fromAgent`) and its addressee (`toAgent`) and prove the author with `agentSig`. Without the fields, the peer's
own agent speaks to ours, which is all that published peers know. (specs/invoke.md §7)

The signature (Ed25519, base64) is over a statement of length-prefixed parts that pins it to one place: the protocol,
the request or message, both agents, both ends of the stream, and a digest of what the frame says. So it is worth
nothing under another id, to another node, or from another peer.
"""

from __future__ import annotations

import base64
import enum
import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.frames import Frame
from nexusd_protocols.identity import AgentId, PeerId, Signer, parse_peer_id, verify

_DOMAIN: Final = b"nexusd agent proof 1"

_Agent = Annotated[str, Meta(min_length=1, max_length=64)] | msgspec.UnsetType
_Signature = Annotated[str, Meta(min_length=88, max_length=88)] | msgspec.UnsetType
"""64 bytes in base64."""


class AgentFrame(Frame, frozen=True, kw_only=True):
    """A frame that can name its agents."""

    from_agent: _Agent = msgspec.UNSET
    to_agent: _Agent = msgspec.UNSET
    agent_sig: _Signature = msgspec.UNSET


ProvenT = TypeVar("ProvenT", bound=AgentFrame)


class ProofFault(enum.Enum):
    """Why a proof is refused."""

    BAD_AGENT = "an agent's id is not a PeerId"
    UNSIGNED = "fromAgent without agentSig"
    UNNAMED = "agentSig without fromAgent"
    UNSIGNABLE = "the content has no canonical form"
    FORGED = "agentSig is not fromAgent's over this frame"


def digest(*parts: bytes) -> bytes:
    """SHA-256 over the parts, each behind its length (8 bytes, big-endian)."""
    return hashlib.sha256(_join(*parts)).digest()


def canonical(value: Any) -> bytes:
    """JSON in the one form that both sides can digest: no blanks, keys sorted by code points, only the escapes that
    JSON demands. Raises ValueError for floats, whose text differs between implementations."""
    _refuse_floats(value)
    return msgspec.json.encode(value, order="sorted")


def sign(
    signer: Signer, *, protocol: str, exchange: str, to_agent: str, sender: PeerId, receiver: PeerId, content: bytes
) -> str:
    """`agentSig` of the signer's agent. `exchange` is the requestId or messageId, `sender` and `receiver` the stream's
    ends, `to_agent` may be empty, `content` is a `digest`."""
    statement = _statement(protocol, exchange, signer.peer_id, to_agent, sender, receiver, content)
    return base64.b64encode(signer.sign(statement)).decode()


def prove(
    frame: ProvenT,
    author: Signer | None,
    *,
    protocol: str,
    exchange: str,
    sender: PeerId,
    receiver: PeerId,
    content: Callable[[], bytes],
) -> ProvenT:
    """The frame with its author's proof; without an author, as it is: the node's own agent needs none.

    Raises ValueError where `toAgent` is no PeerId, and what `content` raises.
    """
    if frame.to_agent is not msgspec.UNSET and not _is_agent(frame.to_agent):
        raise ValueError(ProofFault.BAD_AGENT.value)
    if author is None:
        return frame
    to_agent = "" if frame.to_agent is msgspec.UNSET else frame.to_agent
    signature = sign(
        author,
        protocol=protocol,
        exchange=exchange,
        to_agent=to_agent,
        sender=sender,
        receiver=receiver,
        content=content(),
    )
    return msgspec.structs.replace(frame, from_agent=author.peer_id, agent_sig=signature)


def check(
    frame: AgentFrame,
    *,
    protocol: str,
    exchange: str,
    sender: PeerId,
    receiver: PeerId,
    content: Callable[[], bytes],
) -> AgentId | ProofFault:
    """The agent that speaks, or why the frame is refused. `content` makes the digest; it is asked only where there is
    a signature, and raises ValueError for what has no canonical form."""
    if frame.to_agent is not msgspec.UNSET and not _is_agent(frame.to_agent):
        return ProofFault.BAD_AGENT
    if frame.from_agent is msgspec.UNSET:
        return AgentId(sender) if frame.agent_sig is msgspec.UNSET else ProofFault.UNNAMED
    if not _is_agent(frame.from_agent):
        return ProofFault.BAD_AGENT
    if frame.agent_sig is msgspec.UNSET:
        # the stream itself proves the node's own agent
        return AgentId(sender) if frame.from_agent == sender else ProofFault.UNSIGNED
    to_agent = "" if frame.to_agent is msgspec.UNSET else frame.to_agent
    try:
        said = content()
    except ValueError:
        return ProofFault.UNSIGNABLE
    statement = _statement(protocol, exchange, frame.from_agent, to_agent, sender, receiver, said)
    try:
        signature = base64.b64decode(frame.agent_sig, validate=True)
    except ValueError:
        return ProofFault.FORGED
    return AgentId(frame.from_agent) if verify(frame.from_agent, statement, signature) else ProofFault.FORGED


def require(verdict: AgentId | ProofFault) -> AgentId:
    """The agent. Raises RemoteProtocolError `forged_agent` for a fault: no honest peer sends one."""
    if isinstance(verdict, ProofFault):
        raise RemoteProtocolError("forged_agent", verdict.value, penalty=10)
    return verdict


def _statement(
    protocol: str, exchange: str, from_agent: str, to_agent: str, sender: PeerId, receiver: PeerId, content: bytes
) -> bytes:
    texts = (protocol, exchange, from_agent, to_agent, sender, receiver)
    return _join(_DOMAIN, *(text.encode() for text in texts), content)


def _join(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def _is_agent(text: str) -> bool:
    try:
        parse_peer_id(text)
    except ValueError:
        return False
    return True


def _refuse_floats(value: Any) -> None:
    match value:
        case float():
            raise ValueError("a float has no canonical form")
        case dict():
            for item in value.values():
                _refuse_floats(item)
        case list():
            for item in value:
                _refuse_floats(item)

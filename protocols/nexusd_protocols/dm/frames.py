"""The frames of direct messages, field for field. (specs/dm.md §2)

dm.message is the published frame; dm.ack and dm.error are ours, and published peers, which read nothing, ignore them.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from nexusd_protocols import limits
from nexusd_protocols.agent_proof import AgentFrame, digest
from nexusd_protocols.frames import Frame, RequestId, Word

PROTOCOL: Final = "/nexus/dm/1.1.0"
"""One message on a stream, as the published network has it."""
MANY: Final = "/nexus/dm/1.2.0"
"""Many messages on a stream."""

MessageIdField = Annotated[str, Meta(pattern=rf"\A[\x21-\x7e]{{1,{limits.MESSAGE_ID_CHARS}}}\Z")]


class MessageFrame(AgentFrame, frozen=True, kw_only=True, tag="dm.message"):
    """sender → receiver. The requestId, in ours the messageId again, is not needed."""

    request_id: RequestId | msgspec.UnsetType = msgspec.UNSET
    message_id: MessageIdField
    content_format: Word
    content: str

    def digest(self) -> bytes:
        """What an agent's proof covers."""
        return digest(self.content_format.encode(), self.content.encode())


class AckFrame(Frame, frozen=True, kw_only=True, tag="dm.ack"):
    """receiver → sender: the message is committed to the receiver's disk (or was before)."""

    message_id: MessageIdField


class ErrorFrame(Frame, frozen=True, kw_only=True, tag="dm.error"):
    """receiver → sender: the message was not stored. `messageId` is empty where it could not be read."""

    message_id: Annotated[str, Meta(max_length=limits.MESSAGE_ID_CHARS)]
    code: Word
    message: str = ""


DmFrame = MessageFrame | AckFrame | ErrorFrame


class Code:
    """The codes of dm.error; a reader must expect others."""

    BAD_REQUEST: Final = "BAD_REQUEST"
    TOO_LARGE: Final = "TOO_LARGE"
    FORBIDDEN: Final = "FORBIDDEN"
    NOT_FOUND: Final = "NOT_FOUND"
    BUSY: Final = "BUSY"
    INTERNAL: Final = "INTERNAL"


CODES: Final = frozenset(value for name, value in vars(Code).items() if name.isupper())

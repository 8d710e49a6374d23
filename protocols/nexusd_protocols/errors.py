"""Protocol errors, split by blame.

`LocalProtocolError` means that this program misused a machine: a bug here, never the peer's doing.
`RemoteProtocolError` means that the peer broke the protocol: it carries the bytes to answer with, if the protocol has
an answer, and the penalty to charge. Expected refusals (blocked, over quota, not found) are values, not errors.
"""

from __future__ import annotations

from typing import Final

FLOOD: Final = 100
"""Penalty of a flood that a limit has cut off: each took thousands of frames, and no honest peer comes back with the
next one at once."""


class ProtocolError(Exception):
    """Either side broke a protocol."""


class LocalProtocolError(ProtocolError):
    """This program asked a machine for something its state does not allow."""


class LimitExceededError(LocalProtocolError):
    """This program asked a machine to send more than was agreed. Nothing was sent and the state is as before, so the
    caller can still end the exchange properly. `limit` names the bound: input, output, content, line, depth."""

    def __init__(self, limit: str, detail: str) -> None:
        super().__init__(detail)
        self.limit = limit


class RemoteProtocolError(ProtocolError):
    """The peer sent something its protocol does not allow.

    `code` names the reason (a stable word such as `bad_json`, fit for a log or a metric). `reply` is what the protocol
    says to answer before the stream is closed, empty if nothing. `penalty` is what the peer's account is charged:
    1 for carelessness, 5 for what costs us work, 10 for what no honest implementation sends, FLOOD for too much of it.
    """

    def __init__(self, code: str, detail: str = "", *, reply: bytes = b"", penalty: int = 1) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
        self.reply = reply
        self.penalty = penalty

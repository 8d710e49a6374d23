"""What goes wrong for a client, in the words of the daemon's error table (`nexusd_protocols.rpc.codes`)."""

from __future__ import annotations

from typing import Any

from nexusd_protocols.rpc.codes import CODES
from nexusd_protocols.rpc.connection import RpcError


class NexusError(Exception):
    """A refusal or failure. `code` is the stable word to test, `try_` what a person can do next, `exit_code` what a
    command ends with (1 refused, 2 cannot reach), `data` what belongs to the code (such as the peers that fit)."""

    def __init__(self, code: str, message: str = "", try_: str = "", exit_code: int = 1, data: Any = None) -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message or code
        self.try_ = try_
        self.exit_code = exit_code
        self.data = data

    @classmethod
    def of(cls, code: str, message: str = "", data: Any = None) -> NexusError:
        """The error of a row of the table; `message` replaces the row's. A code that this version does not know keeps
        its word."""
        row = CODES.get(code)
        if row is None:
            return cls(code, message, data=data)
        return cls(row.code, message or row.message, row.try_, row.exit_code, data)

    @classmethod
    def of_answer(cls, error: RpcError) -> NexusError:
        """The error that the daemon answered with."""
        told = error.data if isinstance(error.data, dict) else {}
        code, try_, exit_code = told.get("code"), told.get("try"), told.get("exitCode")
        return cls(
            code if isinstance(code, str) else str(error.code),
            error.message,
            try_ if isinstance(try_, str) else "",
            exit_code if isinstance(exit_code, int) else 1,
            told.get("detail"),
        )


class CallError(Exception):
    """Raised by a handler to end its call with an error that the caller is told: `code` is a word such as BAD_REQUEST.
    Any other exception reaches the caller as INTERNAL only; its text stays here."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

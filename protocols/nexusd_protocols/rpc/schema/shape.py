"""What parameters and results have in common."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from nexusd_protocols import limits

Page = Annotated[int, Meta(ge=1, le=limits.PAGE_ROWS)]
EventKind = Literal["peer", "room", "presence", "dm", "invoke", "content"]
FileUse = Literal["read", "write"]
Format = Literal["text/plain", "text/markdown", "application/json"]


class Params(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Parameters by name. Unknown names are refused: a typing error must not pass for a default."""


class Acting(Params, frozen=True, kw_only=True):
    """Parameters of a method by which an agent acts."""

    agent: str | None = None


class Result(msgspec.Struct, frozen=True, rename="camel"):
    """A result. Clients ignore fields they do not know."""


class Empty(Params, frozen=True):
    """No parameters."""


class Done(Result, frozen=True):
    """The request was carried out."""

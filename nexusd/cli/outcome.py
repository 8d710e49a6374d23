"""What a command returns. `nexusd.cli.output` prints it: for people on a terminal, as JSON otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def _nothing(_item: object) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """One result. `text` makes the lines for people; what it returns was made safe for a terminal. `aside` is for
    people only and goes to stderr. `exit_code` is not 0 where the result is that something is wrong."""

    data: T
    text: Callable[[T], str]
    aside: str = ""
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Stream(Generic[T]):
    """Results as they come; JSON Lines for programs. `text` returns what to print, with its own line ends."""

    items: Iterator[T]
    text: Callable[[T], str]
    aside: Callable[[T], str] = _nothing
    """What an item says to people only, on stderr, behind its text."""
    open_ended: bool = False
    """It goes on until the user stops it, which is then no failure."""


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Text that is the same for people and programs, such as a completion script."""

    text: str


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A result of which a part came, and then `error`: programs find the part in the error's data as `output`, people
    see `text` ahead of the error."""

    error: Exception
    text: str


Outcome = Answer[Any] | Stream[Any] | Verbatim

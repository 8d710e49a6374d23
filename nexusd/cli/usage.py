"""Binding arguments to a command, and saying in a sentence what is wrong with them. Shared by `nexus` and `nexusd`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from cyclopts import App, CycloptsError, MissingArgumentError, UnknownCommandError, UnknownOptionError
from cyclopts.exceptions import UnusedCliTokensError


class UsageError(Exception):
    """The command line was used wrongly. `try_` is what to type instead."""

    def __init__(self, message: str, try_: str) -> None:
        super().__init__(message)
        self.try_ = try_


def run(app: App, argv: Sequence[str]) -> Any:
    """Run the command that the arguments name and return what it returned. Raises UsageError, and what it raises."""
    try:
        return app(list(argv), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        raise _explain(app, error) from None


def between(least: int, most: int) -> Callable[[Any, Any], None]:
    """What checks that an option's number is within bounds, and names both."""

    def check(_kind: Any, value: Any) -> None:
        if value is not None and not least <= value <= most:
            raise ValueError(f"It is from {least} to {most}")

    return check


def silence(stream: TextIO) -> None:
    """Nobody reads this stream any more: let what is still buffered vanish, and not raise when the process ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _explain(app: App, error: CycloptsError) -> UsageError:
    name = app.name[0]
    chain = [word for word in error.command_chain or () if word != name]
    path = " ".join((name, *chain))
    help_ = f"see `{path} --help`"
    at = error.app or app
    if isinstance(error, UnknownCommandError) or (isinstance(error, UnusedCliTokensError) and _commands(at)):
        word = (error.unused_tokens or ["?"])[0]
        return UsageError(f"{path} has no command {word!r}", _nearest(path, word, _commands(at)) or help_)
    if isinstance(error, UnusedCliTokensError):
        word = (error.unused_tokens or ["?"])[0]
        return UsageError(
            f"{path} takes no more, and {word!r} is left", f"{help_}; what has spaces in it goes in quotes"
        )
    if isinstance(error, UnknownOptionError):
        word = error.token.keyword or error.token.value or "?"
        known = [flag for argument in at.assemble_argument_collection() for flag in argument.names]
        text = f"{help_}; text that begins with a dash goes behind `--`"
        return UsageError(f"{path} has no option {word}", _nearest(path, word, known) or text)
    if isinstance(error, MissingArgumentError) and error.keyword is not None:
        return UsageError(f"{error.keyword} needs a value", f"write it as {error.keyword} VALUE; {help_}")
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        return UsageError(f"{path} needs {_label(error.argument)}", help_)
    error.verbose = False
    return UsageError(" ".join(str(error).split()).rstrip("."), help_)


def _label(argument: Any) -> str:
    label = str(argument.name)
    return label if label.startswith("-") else label.upper()


def _commands(app: App) -> list[str]:
    return [name for name in app if not name.startswith("-")]


def _nearest(path: str, word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean `{path} {near[0]}`?" if near else ""

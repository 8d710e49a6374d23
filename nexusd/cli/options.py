"""The options of every command: which daemon is meant, and for whom to print. They may stand before the subcommand or
after it, up to a `--`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nexusd.cli.usage import UsageError

HELP: Final = """Options of every command:
  --name, -n NAME  which daemon (NEXUS_NAME); not needed while only one runs
  --data-dir DIR   which daemon, by its data directory (NEXUS_DATA_DIR)
  --json           print JSON, as is done when the output is not a terminal
Exit codes: 0 done, 1 refused or wrong use, 2 cannot reach"""

VALUED: Final = ("--name", "-n", "--data-dir")

if TYPE_CHECKING:
    FilePath = str
else:
    FilePath = str | Path
"""A path as it was typed, or `-`: text to us, and to the shells something to complete with the names of files."""

STDIN: Final = "\0-"
"""What a lone `-` becomes: cyclopts would take that for an option, and no argument can hold a NUL."""


@dataclass(frozen=True, slots=True)
class Options:
    """`json` is what the user asked for; output that is not a terminal is JSON in any case."""

    name: str | None = None
    data_dir: Path | None = None
    json: bool = False


def split(argv: Sequence[str]) -> tuple[Options, list[str]]:
    """Take the common options out of the arguments. Raises UsageError."""
    options = Options()
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            rest += [word, *words]
            break
        flag, equals, value = word.partition("=")
        if word == "--json":
            options = replace(options, json=True)
        elif flag in VALUED:
            if not equals:
                value = next(words, "")
            if not value or value == "--":
                raise UsageError(f"{flag} needs a value", f"write it as {flag} VALUE")
            options = replace(options, data_dir=Path(value)) if flag == "--data-dir" else replace(options, name=value)
        else:
            rest.append(STDIN if word == "-" else word)
    return options, rest

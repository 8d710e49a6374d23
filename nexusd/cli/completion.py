"""completion: what a shell needs to complete commands and flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from nexusd.cli.outcome import Verbatim

BASH_ENDS: Final = "\ncomplete -F "
BASH_FILES: Final = "\ncomplete -o bashdefault -o default -F "
"""Where there is no command and no flag to complete, the names of files are."""


def completion(shell: Literal["bash", "zsh", "fish"], /) -> Verbatim:
    """Print the completion script of a shell.

    Parameters
    ----------
    shell
        bash, zsh or fish.
    """
    from nexusd.cli.main import build

    app = build()
    app.meta.default(_common)
    script = app.generate_completion(prog_name="nexus", shell=shell).rstrip("\n")
    return Verbatim(script.replace(BASH_ENDS, BASH_FILES) if shell == "bash" else script)


def _common(
    *words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    name: Annotated[str | None, Parameter(alias="-n")] = None,
    data_dir: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Never called: `nexusd.cli.options` takes these options. This makes the shells offer them everywhere.

    Parameters
    ----------
    name
        Which daemon.
    data_dir
        Which daemon, by its data directory.
    json
        Print JSON.
    """

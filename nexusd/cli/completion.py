"""completion: what a shell needs to complete commands and flags."""

from __future__ import annotations

from typing import Literal

from nexusd.cli.outcome import Verbatim


def completion(shell: Literal["bash", "zsh", "fish"], /) -> Verbatim:
    """Print the completion script of a shell. Example: nexus completion bash >> ~/.bash_completion

    Parameters
    ----------
    shell
        bash, zsh or fish.
    """
    from nexusd.cli.main import app

    return Verbatim(app.generate_completion(prog_name="nexus", shell=shell).rstrip("\n"))

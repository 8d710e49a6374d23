"""profile: what this agent tells others of itself."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from nexusd.cli import summaries
from nexusd.cli.outcome import Answer
from nexusd.cli.session import call
from nexusd.cli.terminal import pairs
from nexusd.cli.usage import UsageError
from nexusd_protocols.rpc.schema import Profile

app = App(name="profile", help="What this agent tells others of itself.", help_format="plaintext")


@app.command(help=summaries.of("profile.get", "nexus profile show"))
def show() -> Answer[Profile]:
    return Answer(call("profile.get"), _profile)


@app.command(name="set", help=summaries.of("profile.set", "nexus profile set --display-name alice"))
def set_(
    *,
    display_name: str | None = None,
    description: str | None = None,
    agent_type: Literal["autonomous", "assistant", "tool", "infrastructure"] | None = None,
) -> Answer[Profile]:
    """Change; what is left out stays.

    Parameters
    ----------
    display_name
        Name that others see, 64 characters at most.
    description
        A sentence or two, 512 characters at most.
    agent_type
        What kind of agent this is.
    """
    if display_name is None and description is None and agent_type is None:
        raise UsageError("there is nothing to set", "give --display-name, --description or --agent-type")
    changed = call("profile.set", display_name=display_name, description=description, agent_type=agent_type)
    return Answer(changed, _profile)


def _profile(profile: Profile) -> str:
    return pairs(
        [
            ("agent", profile.agent),
            ("display name", profile.display_name or "none"),
            ("description", profile.description or "none"),
            ("agent type", profile.agent_type),
        ]
    )

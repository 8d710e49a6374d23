"""config: every setting and where it came from."""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import App, Parameter

from nexusd.cli import summaries
from nexusd.cli.outcome import Answer
from nexusd.cli.session import call, current
from nexusd.cli.terminal import table
from nexusd_protocols.rpc.schema import ConfigShow

app = App(name="config", help="Settings of the daemon.", help_format="plaintext")


@app.command(help=summaries.of("config.show", "nexus config show --origin"))
def show(*, origin: Annotated[bool, Parameter(negative=(), show_default=False)] = False) -> Answer[ConfigShow]:
    """Show what the running daemon uses; without one, what it would use if it were started from here.

    Parameters
    ----------
    origin
        Show where each value came from.
    """
    from nexusd.client.errors import NexusError

    aside = ""
    try:
        shown: ConfigShow = call("config.show")
    except NexusError as error:
        if error.code != "daemon_unreachable":
            raise
        shown = _local()
        aside = "no daemon is running: this is what one would use if it were started from here"
    return Answer(shown, lambda shown: _table(shown, origin=origin), aside)


def _local() -> ConfigShow:
    from nexusd.config import load

    options = current().options
    return ConfigShow(values=load({"name": options.name, "data_dir": options.data_dir}).values())


def _table(shown: ConfigShow, *, origin: bool) -> str:
    rows = [[value.key, _value(value.value), *([value.origin] if origin else [])] for value in shown.values]
    return table(["KEY", "VALUE", *(["FROM"] if origin else [])], rows, empty="none")


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)

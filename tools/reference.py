"""`make docs`: the pages of docs/reference that follow from the code, so that they cannot differ from it.

    schema -> rpc.md, openrpc.json    codes -> errors.md    settings -> configuration.md    limits, figures -> limits.md
    families of metrics -> metrics.md        the two cyclopts apps -> commands.md    offences -> penalties.md

`pages` is pure and deterministic; tests/unit/test_docs.py compares it with what is committed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from cyclopts import App

from nexusd.config import SETTINGS, Config
from nexusd.host.limits import accounts
from nexusd.services.metrics import families
from nexusd.services.policy import bans
from nexusd_protocols.errors import FLOOD
from nexusd_protocols.rpc import openrpc
from nexusd_protocols.rpc.codes import CODES
from tools import limits_page, markdown
from tools.offences import offences
from tools.socket_page import SocketPage

FOLDER: Final = Path(__file__).parent.parent / "docs" / "reference"


def pages() -> dict[str, Callable[[], str]]:
    """File name to what makes its text."""
    return {
        "commands.md": _commands,
        "configuration.md": _configuration,
        "errors.md": _errors,
        "limits.md": limits_page.text,
        "metrics.md": _metrics,
        "penalties.md": _penalties,
        "rpc.md": lambda: SocketPage().text(),
        "openrpc.json": _openrpc,
    }


def _openrpc() -> str:
    return msgspec.json.format(msgspec.json.encode(openrpc.document()), indent=2).decode() + "\n"


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in pages().items():
        (FOLDER / name).write_text(make())
    sys.stdout.write(f"{FOLDER.name}: {', '.join(pages())}\n")


# --- metrics --------------------------------------------------------------------------------------------------------
def _metrics() -> str:
    def row(name: str, kind: str, help_: str) -> tuple[str, str, str]:
        return f"`{name}_total`" if kind == "counter" else f"`{name}`", kind, help_

    header = ("metric", "type", "what it tells")
    build = row(families.BUILD + "_info", "gauge", f"{families.BUILD_HELP} (`version`)")
    lag = row(families.LOOP_LAG, "histogram", families.LOOP_LAG_HELP)
    body = [
        "## The daemon",
        markdown.table(header, [build, *(row(each.name, each.kind, each.help) for each in families.METRICS), lag]),
        "## Content",
        markdown.table(header, [row(each.name, each.kind, each.help) for each in families.STORAGE_METRICS]),
        "## Each room",
        markdown.paragraph("The label `room` is the room's name. Counters begin anew when a room is joined anew."),
        markdown.table(header, [row(each.name, each.kind, each.help) for each in families.ROOM_METRICS]),
        "## The process",
        markdown.paragraph(
            "On Linux, those that Prometheus's libraries know everywhere: `process_cpu_seconds_total`, "
            "`process_resident_memory_bytes`, `process_virtual_memory_bytes`, `process_open_fds`, `process_max_fds`, "
            "`process_start_time_seconds`."
        ),
    ]
    intro = (
        "What `nexus metrics` prints, and the method `node.metrics` answers: the text format of Prometheus, version "
        "0.0.4. Counters count since the daemon started. Figures are read when somebody asks, and cost nothing until "
        "then."
    )
    return markdown.page("Metrics", "nexusd/services/metrics/families.py", intro, body)


# --- error codes ----------------------------------------------------------------------------------------------------
def _errors() -> str:
    intro = (
        "One table for every door. On the socket `error.data.code` is the word and `error.code` the number; the "
        "command "
        "line prints the word as `error.code` with `--json`, and ends with the exit code: 1 refused or wrong "
        "use, 2 cannot "
        "reach. Test the word: messages are for people and may change. The command line has three words of its "
        "own: `usage` "
        "(the line was typed wrongly), `invalid_config` and `unsafe_path` (found before any daemon was asked)."
    )
    rows = (
        [f'<a id="{row.code}"></a>`{row.code}`', str(row.number), str(row.exit_code), row.message, row.try_]
        for row in CODES.values()
    )
    return markdown.page(
        "Error codes",
        "nexusd_protocols.rpc.codes",
        intro,
        [markdown.table(["word", "number", "exit", "means", "try"], rows)],
    )


# --- configuration --------------------------------------------------------------------------------------------------
def _configuration() -> str:
    defaults = Config(name="default", data_dir=Path("$XDG_DATA_HOME/nexusd/<name>"))
    rows = []
    for setting, value in zip(SETTINGS, defaults.values(), strict=True):
        default = "" if value.value in (None, []) else markdown.code(_toml(value.value))
        rows.append(
            [
                markdown.code(setting.key),
                markdown.code(_flag(setting.flag, value.value)),
                markdown.code(setting.environment),
                default,
                setting.summary,
            ]
        )
        if not setting.in_file:
            rows[-1][-1] += " (not in the file)"
    intro = (
        "A setting is taken from the first of: the flag of `nexusd run`, the environment variable, the file "
        "`config.toml` in the data directory (or the one that `--config` names), the default. `nexus config show "
        "--origin` "
        "says which it was. Unknown keys in the file are errors; an empty environment variable counts as not set."
    )
    notes = (
        "Flags that take a list are repeated (`--bootstrap A --bootstrap B`); environment variables have commas "
        "or blanks "
        "between; the file has an array. Switches are `true` or `false` in the file, and `1`, `true`, `yes`, "
        "`on` or their "
        "opposites in the environment. `port` and `loopback` describe the default addresses, which `listen` "
        "replaces, so "
        "they do not go together. With `data_dir` the name is that directory's last part, where it can be a name.\n\n"
        '```toml\n# config.toml\nport = 4001\nbootstrap = ["/ip4/192.168.1.5/tcp/4001/p2p/12D3KooW…"]\nmdns = false\n'
        'log_format = "json"\n```\n\n'
        "The clients know three of these: `--name`, `--data-dir`, and their environment variables. Other "
        "variables that are "
        "read: `XDG_DATA_HOME` (where profiles are; `~/.local/share` without it, `~/Library/Application Support` "
        "on macOS), "
        "`XDG_RUNTIME_DIR` (where the socket goes if its path would be over 100 bytes)."
    )
    body = [markdown.table(["key", "flag", "environment", "default", ""], rows), notes]
    return markdown.page("Configuration", "nexusd.config", intro, body)


def _flag(flag: str, value: Any) -> str:
    return f"{flag}, --no-{flag[2:]}" if isinstance(value, bool) else flag


def _toml(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# --- penalties ------------------------------------------------------------------------------------------------------
def _penalties() -> str:
    first, second, later = (_time(length / 1000) for length in bans.LENGTHS)
    intro = (
        "What a peer is charged for, and what follows. Each peer has an account; what it owes halves every "
        f"{_time(accounts.HALF_LIFE)}, and a second costs {accounts.BURST_POINTS:g} points at most, so that one "
        "mistake made in many messages at once stays one. "
        f"At {accounts.BAN_POINTS:g} points the peer is banned: its connections are closed, and refused until the "
        f"ban ends by itself. The first ban takes {first}, the second {second}, each later one {later}; "
        f"{_time(bans.REMEMBERED / 1000)} after its last one a peer has a clean record. `nexus peers --banned` shows "
        "who is banned and why, `nexus peers unban` ends it. Whoever passes on what others wrote is charged for what "
        "no honest peer passes on, and for nothing else."
    )
    scale = markdown.table(
        ["points", "for"],
        [
            ["1", "carelessness: a stream that ends in the middle, a field that is wrong"],
            ["5", "what costs us work: text that is no JSON, a message that had to be rejected"],
            ["10", "what no honest implementation sends"],
            [str(FLOOD), "too much of anything, after a limit has cut it off"],
        ],
    )
    body = [scale]
    for title, rows in offences().items():
        body += [
            f"## {title}",
            markdown.table(["offence", "points", ""], ([markdown.code(r.code), str(r.points), r.detail] for r in rows)),
        ]
    return markdown.page("Penalties", "the places that charge them", intro, body)


def _time(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            count = seconds / size
            return f"{count:g} {unit}" if count != 1 else f"one {unit.removesuffix('s')}"
    return f"{seconds:g} seconds"


# --- commands -------------------------------------------------------------------------------------------------------
def _commands() -> str:
    from nexusd.__main__ import app as nexusd
    from nexusd.cli.main import build
    from nexusd.cli.options import HELP

    intro = (
        "`nexusd` is the daemon, `nexus` its client. On a terminal a command prints text for people; with "
        "`--json`, and "
        'where its output is not a terminal, one envelope, `{"schemaVersion":1,"ok":true,"data":…}` or '
        '`{"schemaVersion":1,"ok":false,"error":{"code","message","try","exitCode","data"}}`, and for what '
        "streams JSON Lines "
        "without an envelope. The `data` of a command is the result of the method behind it: see [rpc.md](rpc.md)."
    )
    options = f"```text\n{HELP}\n```"
    return markdown.page(
        "Commands", "the commands' own help", intro, [options, *(_app_text(one) for one in (nexusd, build()))]
    )


def _app_text(app: App) -> str:
    """Cyclopts' own Markdown one level down, without its index, and with the examples set apart."""
    text = app.generate_docs(output_format="markdown", heading_level=2)
    text = re.sub(r"^#+ Table of Contents\n\n( *- .*\n)+\n?", "", text, flags=re.MULTILINE)
    # usage lines begin with the name of the program that runs now: take the heading's words instead
    text = re.sub(r"^(#+ (.+)\n\n```console\n).*?((?: \[?[A-Z.]+\]?)*)$", r"\1\2\3", text, flags=re.MULTILINE)
    text = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n?", "", text)
    text = re.sub(r"^(Example): (.+)$", r"\1: `\2`", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


if __name__ == "__main__":
    main()

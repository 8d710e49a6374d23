"""`make docs`: the pages of docs/reference that follow from the code, so that they cannot differ from it.

    schema -> rpc.md, openrpc.json    codes -> errors.md    settings -> configuration.md    limits, figures -> limits.md
    families of metrics -> metrics.md        the two cyclopts apps -> commands.md    offences -> penalties.md

`pages` is pure and deterministic; tests/unit/test_docs.py compares it with what is committed.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from cyclopts import App

from nexusd.config import SETTINGS, Config
from nexusd.host.limits import accounts
from nexusd.host.limits.figures import Figures
from nexusd.services.metrics import families
from nexusd.services.policy import bans
from nexusd_protocols import limits
from nexusd_protocols.errors import FLOOD
from nexusd_protocols.rpc import openrpc, schema
from nexusd_protocols.rpc.codes import CODES
from tools import markdown
from tools.offences import offences

FOLDER: Final = Path(__file__).parent.parent / "docs" / "reference"
_REF: Final = "#/components/schemas/"


def pages() -> dict[str, str]:
    """File name to text."""
    return {
        "commands.md": _commands(),
        "configuration.md": _configuration(),
        "errors.md": _errors(),
        "limits.md": _limits(),
        "metrics.md": _metrics(),
        "penalties.md": _penalties(),
        "rpc.md": _Socket().page(),
        "openrpc.json": msgspec.json.format(msgspec.json.encode(openrpc.document()), indent=2).decode() + "\n",
    }


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
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


# --- the socket -----------------------------------------------------------------------------------------------------
class _Socket:
    """The page of the socket: the OpenRPC document in words."""

    def __init__(self) -> None:
        self._document = openrpc.document()
        self._types: dict[str, Any] = self._document["components"]["schemas"]
        self._structs = {name: value for name, value in vars(schema).items() if isinstance(value, type)}

    def page(self) -> str:
        """All of it."""
        methods = self._document["methods"]
        asked = [one for one in methods if "x-direction" not in one]
        told = [one for one in methods if "x-direction" in one]
        info = self._document["info"]
        intro = (
            f"Interface {info['version']}: {info['description']} The rules (lines, credit, events) are in "
            "[specs/rpc.md](../../protocols/specs/rpc.md), this table for programs is [openrpc.json](openrpc.json) "
            "(`nexusd openrpc`), the error words are in [errors.md](errors.md). Times are unix milliseconds. Any "
            "method "
            f"may answer {_codes(openrpc.ANY_METHOD)}; each method lists what else it may."
        )
        index = (
            [f"[`{one['name']}`](#{markdown.anchor(one['name'])})", one["summary"], markdown.code(one.get("x-command"))]
            for one in asked
        )
        body = [
            "## Methods",
            markdown.table(["method", "", "command"], index),
            *(self._asked(one) for one in asked),
            "## What the daemon sends",
            "Notifications, and one request: `capability.invoke`, to the connection that serves the capability.",
            *(self._told(one) for one in told),
            "## Types",
            *(self._type(name) for name in self._named(methods) if _fields(self._types[name])),
        ]
        return markdown.page("The socket", "nexusd_protocols.rpc.schema", intro, body)

    def _asked(self, method: dict[str, Any]) -> str:
        command = f" Typed: `{method['x-command']}`." if "x-command" in method else ""
        if "x-file" in method:
            command += f" With [a file](../../protocols/specs/rpc.md#6-open-files) that is open to {method['x-file']}."
        parts = [f"### {method['name']}", f"{method['summary']}.{command}"]
        if method["params"] and method["description"] != method["summary"]:
            parts.append(method["description"])
        parts.append(self._params(method, schema.METHODS[method["name"]].params))
        parts.append(self._result(method))
        if own := [code for code in map(_last, method["errors"]) if code not in openrpc.ANY_METHOD]:
            parts.append(f"Errors: {_codes(own)}.")
        return "\n\n".join(parts)

    def _told(self, method: dict[str, Any]) -> str:
        row = (schema.NOTIFICATIONS if "x-notification" in method else schema.PROVIDER_METHODS)[method["name"]]
        # the kinds of events stand a line each
        text = re.sub(r"^(\w+): ", r"- \1: ", method["description"], flags=re.MULTILINE)
        parts = [
            f"### From the daemon: {method['name']}",
            f"{method['summary']}.",
            text,
            self._params(method, row.params),
        ]
        return "\n\n".join([*parts, *([self._result(method)] if "result" in method else [])])

    def _params(self, method: dict[str, Any], struct: type[msgspec.Struct]) -> str:
        notes = self._notes_of(struct)
        rows = [_row(one["name"], one["schema"], one["required"], notes) for one in method["params"]]
        return markdown.table(["parameter", "type", "default", ""], rows) if rows else "No parameters."

    def _result(self, method: dict[str, Any]) -> str:
        name = method["result"]["name"]
        return f"Result: {_type_of({'$ref': _REF + name}) if _fields(self._types[name]) else '`{}`'}."

    def _type(self, name: str) -> str:
        described = self._types[name]
        required = set(described.get("required", ()))
        notes = self._notes_of(self._structs[name])
        rows = [_row(key, field, key in required, notes) for key, field in _fields(described).items()]
        text = described.get("description", "")
        return "\n\n".join(
            [f"### {name}", *([text] if text else []), markdown.table(["field", "type", "default", ""], rows)]
        )

    @staticmethod
    def _notes_of(struct: type[msgspec.Struct]) -> dict[str, str]:
        """What stands behind the fields, inherited ones too, by their names on the wire."""
        wire = dict(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))
        ours = [one for one in struct.__mro__ if one.__module__.startswith(schema.__name__)]
        return {wire[name]: text for one in ours for name, text in _documented(one).items()}

    def _named(self, value: Any) -> list[str]:
        """The types that something refers to, and those that these do."""
        found: set[str] = set()
        waiting = _references(value)
        while waiting:
            name = waiting.pop()
            found.add(name)
            waiting |= _references(self._types[name]) - found
        return sorted(found)


@cache
def _documented(struct: type) -> dict[str, str]:
    """Names of a class's annotated fields, with the text that stands right behind them."""
    (node,) = ast.parse(inspect.getsource(struct)).body
    assert isinstance(node, ast.ClassDef)
    return {
        field.target.id: str(text.value.value)
        for field, text in pairwise(node.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def _row(name: str, described: dict[str, Any], required: bool, notes: dict[str, str]) -> list[str]:
    default = "required" if required else ""
    if "default" in described:
        default = markdown.code(msgspec.json.encode(described["default"]).decode())
    remarks = [one for one in (_bounds(described), notes.get(name, "")) if one]
    return [markdown.code(name), _type_of(described), default, "; ".join(remarks)]


def _type_of(described: dict[str, Any]) -> str:
    if "$ref" in described:
        name = _last(described)
        return f"[{name}](#{markdown.anchor(name)})"
    if "enum" in described:
        return ", ".join(markdown.code(str(word)) for word in described["enum"])
    if "anyOf" in described:
        return " or ".join(_type_of(one) for one in described["anyOf"])
    if described.get("type") == "array":
        return f"array of {_type_of(described.get('items', {}))}"
    return str(described.get("type", "any"))


_BOUNDS: Final = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "maxLength": "at most {} characters",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
}


def _bounds(described: dict[str, Any]) -> str:
    parts = described.get("anyOf", [described])
    return ", ".join(text.format(part[key]) for part in parts for key, text in _BOUNDS.items() if key in part)


def _references(value: Any) -> set[str]:
    return set(re.findall(rf'"{_REF}(\w+)"', msgspec.json.encode(value).decode()))


def _last(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _fields(described: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = described.get("properties", {})
    return fields


def _codes(codes: Iterable[str]) -> str:
    return ", ".join(f"[`{code}`](errors.md#{code})" for code in codes)


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


# --- limits ---------------------------------------------------------------------------------------------------------
class _Limit(NamedTuple):
    names: list[str]
    reason: str


def _limits() -> str:
    intro = (
        "What is accepted from outside, and why so much and no more. Machines take these as parameters; the "
        "daemon uses "
        "these values. A reason below several names is that of all of them."
    )
    body = ["## Connections", markdown.table(["limit", "value", "reason"], _figures())]
    for title, rows in _sections(Path(inspect.getfile(limits)).read_text()):
        body.append(f"## {title}")
        body.append(
            markdown.table(
                ["limit", "value", "reason"],
                (
                    ["<br>".join(map(markdown.code, row.names)), "<br>".join(_amount(n) for n in row.names), row.reason]
                    for row in rows
                ),
            )
        )
    return markdown.page("Limits", "nexusd_protocols.limits and nexusd.host.limits.figures", intro, body)


def _figures() -> Iterator[list[str]]:
    """The fields of Figures, each with the text behind it."""
    [body] = (node.body for node in ast.parse(inspect.getsource(Figures)).body if isinstance(node, ast.ClassDef))
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            name, value = field.target.id, getattr(Figures(), field.target.id)
            shown = _toml(value) if isinstance(value, bool) else _shown(name.upper(), value)
            yield [markdown.code(name), shown, ast.literal_eval(text.value)]


def _sections(source: str) -> Iterator[tuple[str, list[_Limit]]]:
    """The headings of the module, each with its limits: names that follow one another share the text behind them."""
    lines = source.splitlines()
    title, rows, names = "", list[_Limit](), list[str]()
    last_line = 0
    for node in ast.parse(source).body:
        heading = next((line for line in lines[last_line : node.lineno] if line.startswith("# ---")), "")
        gap = any(not line.strip() for line in lines[last_line : node.lineno - 1])
        last_line = node.end_lineno or node.lineno
        if names and (gap or heading):
            rows.append(_Limit(names, ""))
            names = []
        if heading:
            if rows:
                yield title, rows
            title, rows = heading.strip("# -").partition(" (")[0], []
            title = title[:1].upper() + title[1:]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and title:
            names.append(node.target.id)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and names:
            rows.append(_Limit(names, str(node.value.value)))
            names = []
    if names:
        rows.append(_Limit(names, ""))
    yield title, rows


def _amount(name: str) -> str:
    return _shown(name, getattr(limits, name))


def _shown(name: str, value: float) -> str:
    if name.endswith(("_BYTES", "_WINDOW")):
        for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value >= factor and value % factor == 0:
                return f"{value // factor} {unit}"
        return f"{value:,} B"
    if name.endswith("_MS"):
        return f"{value / 1000:,g} s"
    if name.endswith(("_SECONDS", "_TIMEOUT")) and "PER_SECOND" not in name:
        return f"{value:g} s"
    return (
        f"{value:.3g}"
        if isinstance(value, float) and value < 1
        else f"{value:,g}"
        if isinstance(value, float)
        else f"{value:,}"
    )


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

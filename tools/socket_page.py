"""rpc.md: every method of the socket, what the daemon sends, and the types of both."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from typing import Any, Final

import msgspec

from nexusd_protocols.rpc import openrpc, schema
from tools import markdown

_REF: Final = "#/components/schemas/"


class SocketPage:
    """The OpenRPC document in words."""

    def __init__(self) -> None:
        self._document = openrpc.document()
        self._types: dict[str, Any] = self._document["components"]["schemas"]
        self._structs = {name: value for name, value in vars(schema).items() if isinstance(value, type)}

    def text(self) -> str:
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
        return ", ".join(markdown.code(str(word) or '""') for word in described["enum"])
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

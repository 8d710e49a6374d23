"""The socket's interface as an OpenRPC 1.3 document, made from `schema` and `codes`. Deterministic."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, Final

import msgspec

from nexusd_protocols.rpc.codes import CODES, ErrorCode
from nexusd_protocols.rpc.schema import METHODS, NOTIFICATIONS, PROVIDER_METHODS, Method, Notification, OpenRpcDocument

OPENRPC_VERSION: Final = "1.3.2"
INTERFACE_VERSION: Final = "2.0.0"
"""Raised with the interface: the middle figure for what old clients may ignore, the first for what breaks them."""
ANY_METHOD: Final = ("invalid_request", "invalid_params", "internal_error", "busy", "shutting_down")
_REF: Final = "#/components/schemas/{name}"


def document() -> dict[str, Any]:
    """The document, ready for JSON. Notifications and requests of the daemon are methods with an `x-` mark, and so are
    those with which an open file comes."""
    rows = [*METHODS.values(), *PROVIDER_METHODS.values()]
    types: list[Any] = [row.params for row in rows] + [row.result for row in rows]
    types += [row.params for row in NOTIFICATIONS.values()]
    _, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    return {
        "openrpc": OPENRPC_VERSION,
        "info": {
            "title": "nexusd",
            "version": INTERFACE_VERSION,
            "description": "JSON-RPC 2.0 over a Unix socket, one JSON object a line; parameters by name.",
        },
        "methods": [
            *(_method(row, schemas) for row in METHODS.values()),
            *(_method(row, schemas) | {"x-direction": "daemon-to-client"} for row in PROVIDER_METHODS.values()),
            *(_notification(row, schemas) for row in NOTIFICATIONS.values()),
        ],
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "errors": {row.code: _error(row) for row in CODES.values()},
        },
    }


@cache
def openrpc_document() -> OpenRpcDocument:
    """The same as the result of `rpc.discover`, made once."""
    return msgspec.convert(document(), OpenRpcDocument)


def _method(row: Method, schemas: dict[str, Any]) -> dict[str, Any]:
    codes = dict.fromkeys((*row.errors, *ANY_METHOD))
    entry: dict[str, Any] = {
        "name": row.name,
        "summary": row.summary,
        "description": inspect.cleandoc(row.params.__doc__ or row.summary),
        "paramStructure": "by-name",
        "params": _params(row.params, schemas),
        "result": {"name": row.result.__name__, "schema": {"$ref": _REF.format(name=row.result.__name__)}},
        "errors": [{"$ref": f"#/components/errors/{code}"} for code in codes],
    }
    if row.command:
        entry["x-command"] = row.command
    if row.file is not None:
        entry["x-file"] = row.file
    return entry


def _notification(row: Notification, schemas: dict[str, Any]) -> dict[str, Any]:
    """OpenRPC knows no notifications of its own: a method without a result is one."""
    return {
        "name": row.name,
        "summary": row.summary,
        "description": inspect.cleandoc(row.params.__doc__ or row.summary),
        "paramStructure": "by-name",
        "params": _params(row.params, schemas),
        "x-direction": "daemon-to-client",
        "x-notification": True,
    }


def _params(struct: type[msgspec.Struct], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    schema = schemas[struct.__name__]
    required = set(schema.get("required", ()))
    return [
        {"name": name, "required": name in required, "schema": field} for name, field in schema["properties"].items()
    ]


def _error(row: ErrorCode) -> dict[str, Any]:
    return {
        "code": row.number,
        "message": row.message,
        "data": {"code": row.code, "try": row.try_, "exitCode": row.exit_code},
    }
